"""`neural doctor` and `neural info`: what they say, and that a broken installation does not break them."""

import importlib
import json
import os
import re
import sys
import tomllib
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from neural import checkpoint, doctor, info
from neural.cli import main
from neural.cuda import disk_cache
from neural.errors import BackendUnavailable, SceneFormatError
from neural.scenes.files.gaussians import formats
from tests.splat_files import made


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEURAL_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def native(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    module = types.ModuleType("neural.cuda.native")
    module.active_isa = lambda: "avx2"  # type: ignore[attr-defined]
    module.available_isas = lambda: ["baseline", "avx2"]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "neural.cuda.native", module)
    return module


def finding(topic: str) -> doctor.Finding:
    return next(found for found in doctor.examine().findings if found.topic == topic)


def test_a_whole_installation_is_healthy(native, capsys) -> None:
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert "native core  avx2; this machine has baseline, avx2" in text
    assert torch.__version__ in text
    assert text.rstrip().endswith("everything needed is here")
    columns = {line.index("  ", 4) for line in text.splitlines() if line.startswith("ok  native")}
    assert columns  # the longest topic sets the width


def test_a_missing_native_core_is_said_with_its_remedy(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    real = importlib.import_module

    def broken(name: str, package: str | None = None) -> types.ModuleType:
        if name == "neural.cuda.native":
            raise BackendUnavailable("the compiled part is missing")
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", broken)
    found = finding("native core")
    assert (found.state, found.remedy) == ("broken", "pip install -e . in a checkout")
    assert "the compiled part is missing" in found.text
    assert not doctor.examine().healthy


@pytest.mark.parametrize("name", list(doctor.EXTRAS))
def test_a_missing_extra_names_its_pip_line_and_is_no_failure(name: str, native, monkeypatch) -> None:
    monkeypatch.setattr(
        doctor, "_importable", lambda module: module not in (doctor.EXTRAS[name].module, "cuda.bindings")
    )
    found = finding(f"[{name}]")
    assert found.state == "optional"
    assert found.remedy.startswith("pip install '")
    assert finding("NVRTC").state == "optional"
    assert doctor.examine().healthy


def test_the_pip_lines_are_those_of_the_package() -> None:
    project = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text())["project"]
    assert {name: list(extra.packages) for name, extra in doctor.EXTRAS.items()} == project["optional-dependencies"]
    for name, (major, minor) in doctor.MINIMUM.items():
        assert f"{name}>={major}.{minor}" in project["dependencies"]


def test_an_old_or_missing_package_is_broken(native, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "numpy":
            raise importlib.metadata.PackageNotFoundError(name)
        return "2.9.1+cpu"

    monkeypatch.setattr(doctor.importlib.metadata, "version", version)
    assert finding("torch").text == "2.9.1+cpu, 2.10 or newer is needed"
    assert finding("numpy").remedy == "pip install 'numpy>=1.26'"
    assert not doctor.examine().healthy


def test_an_unwritable_cache_is_broken(native, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NEURAL_CACHE_DIR", str(tmp_path / "file"))
    found = finding("cache")
    assert found.state == "broken"
    assert "NEURAL_CACHE_DIR" in found.remedy


def test_the_cache_is_measured(native, tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "kernel.cubin").write_bytes(b"x" * 2_500_000)
    assert "2.5 MB, writable" in finding("cache").text


def test_files_that_vanish_while_they_are_measured_do_not_count(native, tmp_path: Path, monkeypatch) -> None:
    """Another process empties the cache between the listing and the look at each file."""
    folder = tmp_path / "cache" / "cubins"
    folder.mkdir(parents=True)
    for index in range(3):
        (folder / f"{index}.cubin").write_bytes(b"x" * 1_000_000)
    walk = os.walk

    def listed_then_gone(top: Path) -> Iterator[tuple]:
        for place, folders, names in walk(top):
            for name in names[:2]:
                (Path(place) / name).unlink()
            yield place, folders, names
        yield str(tmp_path / "cache" / "gone"), [], ["a"]

    monkeypatch.setattr(doctor.os, "walk", listed_then_gone)
    assert "1.0 MB, writable" in finding("cache").text


@pytest.mark.parametrize(
    ("system", "expected"),
    [("linux", ".cache/neural"), ("darwin", "Library/Caches/neural"), ("win32", "neural/cache")],
)
def test_the_cache_is_where_the_platform_keeps_caches(system: str, expected: str, monkeypatch) -> None:
    for name in ("NEURAL_CACHE_DIR", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(disk_cache.sys, "platform", system)
    assert disk_cache.cache_root().as_posix().endswith(expected)


def test_info_of_a_run(tmp_path: Path, capsys) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"scene": "data/fox", "run": {"steps": 50}}))
    assert "no checkpoint yet" in info.describe(tmp_path)
    checkpoint.save(tmp_path, 30, {"model/a": torch.zeros(1)}, {})
    (tmp_path / "eval.json").write_text('{"summary": "mean PSNR 31.23 dB SSIM 0.9000"}')
    assert main(["info", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert "trained    30 of 50 steps" in text
    assert "scores     mean PSNR 31.23 dB SSIM 0.9000" in text
    (tmp_path / "eval.json").write_text('{"mean": {"psnr": 31.2}}')
    assert "cannot be read" in info.describe(tmp_path)


@pytest.mark.parametrize("name", ["a.ply", "a.compressed.ply", "a.spz", "a.sog", "a.splat"])
def test_info_of_a_gaussian_scene(tmp_path: Path, name: str) -> None:
    formats.write(tmp_path / name, made(200, 2, antialiased=True))
    text = info.describe(tmp_path / name)
    assert text.startswith(f"Gaussians    200 ({tmp_path / name})")
    assert f"degree {0 if name == 'a.splat' else 2}" in text
    assert ("antialiased  yes" in text) == (name != "a.splat")
    (tmp_path / name).write_bytes(b"ply\n")
    with pytest.raises(SceneFormatError, match=re.escape(name)):
        info.describe(tmp_path / name)


def test_info_of_nothing_exits_with_3(capsys) -> None:
    with pytest.raises(SceneFormatError, match="no such file"):
        info.describe("nowhere")
    assert main(["info", "nowhere"]) == 3
    assert "nowhere: there is no such file or folder" in capsys.readouterr().err
