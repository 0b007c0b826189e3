"""Commands shown to readers exist, and take the arguments that they are shown with."""

import argparse
import os
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import tyro

from neural import cli
from neural.cli.edit import EDITS
from neural.cli.train import TASKS
from neural.scenes.synthetic import __main__ as synthetic
from tests.docs.pages import ROOT, Block, blocks, pages

SHELLS = ("", "bash", "console", "sh")
# Programs that are not ours, with which the first lines of a page may prepare something.
OTHERS = ("cd", ".", "apt", "tail", "nice", "git", "ssh", "pre-commit", "unzip", "python3", "pkg")
COMMAND = re.compile(r"(neural|make|python|pip)\b")
# inline code that reads as a command: `neural eval RUN`, `make bench SUITES=splats`
INLINE = re.compile(r"`((?:neural|make|pip install|python)(?: [^`]*)?)`")


KNOWN = {*cli.COMMANDS, *(f"train {name}" for name in TASKS), *(f"edit {name}" for name in EDITS)}


class Parsed(BaseException):
    """The arguments were understood; nothing is to be run."""


def shown() -> dict[str, str]:
    """Every command line in every page -> where it stands first. The CHANGELOG may speak of what was."""
    found: dict[str, str] = {}
    for page in pages():
        if page.name == "CHANGELOG.md":
            continue
        for block in blocks(page):
            if block.language in SHELLS:
                for line in commands(block):
                    found.setdefault(line, str(block))
        prose = re.sub(r"^ *```.*?^ *```", "", (ROOT / page).read_text(), flags=re.MULTILINE | re.DOTALL)
        for line in INLINE.findall(prose.replace("\n", " ")):
            found.setdefault(re.sub(" +", " ", line), str(page))
    return found


def commands(block: Block) -> Iterator[str]:
    """The command lines of a block; continued lines are one. A block without a language counts if it looks so."""
    lines = block.text.replace("\\\n", " ").splitlines()
    if not block.language and not all(COMMAND.match(line) for line in lines if line and not line[0].isspace()):
        return
    for line in lines:
        words = line.removeprefix("$ ").strip()
        if words and not words.startswith("#") and not (line[0].isspace() and not block.language):
            yield words


SHOWN = shown()


def test_there_are_many() -> None:
    assert sum(line.startswith("neural ") for line in SHOWN) > 50


@pytest.mark.parametrize("line", SHOWN)
def test_a_command_that_is_shown_parses(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = shlex.split(line, comments=True)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):  # VARIABLE=value before a command
        words.pop(0)
    if words and words[-1] == "...":  # `neural train ...`: a family of commands
        words.pop()
        assert words[:1] == ["neural"] and (len(words) == 1 or words[1] in cli.COMMANDS)
        return
    program, arguments = words[0], words[1:]
    match program:
        case "neural":
            neural_parses(arguments, monkeypatch)
        case "make":
            make_knows(arguments)
        case "pip":
            pip_installs(arguments)
        case "python":
            python_parses(arguments, monkeypatch)
        case _:
            assert program in OTHERS, f"{SHOWN[line]}: what is {program!r}?"


def neural_parses(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    real = tyro.cli

    def parse(*given: object, **options: object) -> None:
        real(*given, **options)  # type: ignore[call-overload]
        raise Parsed

    if " ".join(arguments) in KNOWN:  # `neural export`, `neural train sdf` in a sentence: the command as such
        arguments = [*arguments, "--help"]
    if arguments in ([], ["--help"], ["--version"]) or arguments[-1] == "--help":
        assert cli.main(arguments) == (0 if arguments else 2)
        return
    if arguments[:2] == ["train", "TASK"]:
        arguments = ["train", "splats", *arguments[2:]]
    monkeypatch.setattr(tyro, "cli", parse)
    with pytest.raises(Parsed):
        assert cli.main(arguments) == 0


def make_knows(arguments: list[str]) -> None:
    makefile = (ROOT / "Makefile").read_text()
    known = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert known is not None
    targets = {*known[1].split()}
    for word in arguments:
        name, given, _ = word.partition("=")
        if given:
            assert re.search(rf"^{name}\s*[?:]=|\$\({name}\)", makefile, re.MULTILINE), f"no variable {name}"
        else:
            assert word in targets, f"no target {word}"
    for word in arguments:
        if word.startswith("SUITES="):
            listed = (ROOT / "tests" / "bench" / "__main__.py").read_text()
            for suite in word.removeprefix("SUITES=").split():
                assert f'"{suite}"' in listed, f"no suite {suite}"


def pip_installs(arguments: list[str]) -> None:
    assert arguments[0] == "install"
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for word in arguments[1:]:
        for names in re.findall(r"(?:\.|neural)\[([\w,]+)\]", word):
            assert set(names.split(",")) <= set(extras), f"no extra {names}"


def python_parses(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts of ours with argparse, modules of ours with tyro."""
    if arguments[0] == "-m":
        module, rest = arguments[1], arguments[2:]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", TYRO, module, *rest], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return
    script = ROOT / arguments[0]
    assert script.is_file(), f"no file {arguments[0]}"
    real = argparse.ArgumentParser.parse_args

    def parse(self: argparse.ArgumentParser, *given: object) -> None:
        real(self, *given)  # type: ignore[call-overload]
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse)
    shown = [word.strip("[]") for word in arguments[1:]]
    monkeypatch.setattr(sys, "argv", [str(script), *("1" if word == "N" else word for word in shown)])
    with pytest.raises(Parsed):
        runpy.run_path(str(script), run_name="__main__")


# In a process of its own: runs a module until it has understood its arguments.
TYRO = """
import os, runpy, sys, tyro
real = tyro.cli
def parse(*given, **options):
    real(*given, **options)
    os._exit(0)
tyro.cli = parse
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
sys.exit("its arguments were never parsed")
"""


def test_the_first_answer_of_neural_is_made_of_commands_that_parse(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(cli.START) == 3
    for line, _ in cli.START:
        neural_parses(shlex.split(line)[1:], monkeypatch)
        monkeypatch.undo()


def test_the_scripts_in_docstrings_of_examples_exist() -> None:
    for path in sorted((ROOT / "examples").glob("*.py")):
        assert f"python examples/{path.name}" in Path(path).read_text()


def test_options_that_prose_names_are_there(capsys: pytest.CaptureFixture[str]) -> None:
    """Inline code that begins with `--` is an option of some command, or the beginning of some (`--train.`)."""
    helps = [*KNOWN - {"train", "edit"}]
    for name in helps:
        cli.main([*name.split(), "--help"])
    with pytest.raises(SystemExit):
        synthetic.main(["--help"])
    known = set(re.findall(r"--[a-z][\w.-]*", capsys.readouterr().out))
    assert len(known) > 100
    wrong = []
    for page in pages():
        text = (ROOT / page).read_text() if page.name != "CHANGELOG.md" else ""
        for option in re.findall(r"(?<=`)--[a-z][\w.-]*", text):
            if not any(each.startswith(option) if option.endswith(".") else each == option for each in known):
                wrong.append(f"{page}: {option}")
    assert not wrong
