"""Options that only some kinds of run take: passed on where they mean something, refused with a list elsewhere."""

from pathlib import Path

import pytest

import neural
from neural import cli
from neural.cli import UsageError
from neural.cli.options import call
from neural.errors import BadOption


def pictured(*, size: int = 3, out: str | None = None) -> tuple[int, str | None]:
    return size, out


def test_only_what_was_given_is_passed_on() -> None:
    assert call(pictured, {"size": None, "out": "a", "frames": None}, "image") == (3, "a")


def test_what_a_run_does_not_take_is_refused_with_what_it_takes() -> None:
    with pytest.raises(UsageError, match="--lpips means nothing for a run of kind 'image'; its options here: --size"):
        call(pictured, {"size": 4, "net": "alex"}, "image", net="lpips")


def test_a_value_that_a_run_cannot_serve_exits_with_2(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    class Run:
        kind = "image"

        def render(self, *, downscale: int = 1) -> Path:
            raise BadOption(f"nothing is left at --downscale {downscale}")

    monkeypatch.setattr(neural, "load_run", lambda path, device: Run(), raising=False)
    assert cli.main(["render", "r", "--downscale", "9"]) == 2
    assert capsys.readouterr().err == "neural: nothing is left at --downscale 9\n"
    assert cli.main(["render", "r", "--frames", "9"]) == 2
    assert "--frames means nothing for a run of kind 'image'" in capsys.readouterr().err
