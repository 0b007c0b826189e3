"""The command line: what is typed reaches one function; the rest is refused with a remedy."""

import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import neural
from neural import cli
from neural.cli.train_radiance import Radiance
from neural.cli.training import parse
from neural.errors import BackendUnavailable, CheckpointError, DivergenceError, NotSaved, SceneFormatError
from neural.interrupt import Interrupted
from neural.train.tasks.capture.config import RunConfig
from neural.train.tasks.radiance.config import RadianceConfig
from neural.train.tasks.splats.config import DensifyConfig, SplatsConfig


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch):
    """Stands in for `neural.train.tasks.radiance.run`; collects the calls and raises what it is told to."""
    calls: list[tuple] = []
    module = types.ModuleType("neural.train.tasks.radiance.run")

    def train(scene, config, *, out, overwrite, watch):  # type: ignore[no-untyped-def]
        assert watch is None
        calls.append((scene, config, out, overwrite))
        if module.error is not None:
            raise module.error

    module.train, module.error, module.calls = train, None, calls  # type: ignore[attr-defined]
    import neural.train.tasks.radiance

    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(neural.train.tasks.radiance, "run", module, raising=False)
    return module


@pytest.mark.parametrize(
    "arguments",
    [
        "--help",
        "train --help",
        "train radiance --help",
        "train splats --help",
        "train volume --help",
        "render --help",
        "info --help",
        "edit --help",
        "edit crop --help",
        "edit transform --help",
        "edit merge --help",
        "edit clean --help",
        "edit decimate --help",
        "--version",
    ],
)
def test_help_is_quick_and_does_not_import_torch(arguments: str) -> None:
    script = (
        "import sys, neural.cli\n"
        f"code = neural.cli.main({arguments.split()!r})\n"
        "assert code == 0, code\n"
        "assert not {'torch', 'numpy', 'jaxtyping'} & set(sys.modules), 'too much imported for help'\n"
    )
    before = os.times()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "neural" in done.stdout
    spent = os.times().children_user - before.children_user
    assert spent < 2.0  # a guard against torch, whatever else the machine does; 0.2 s


def test_train_passes_what_was_typed(training) -> None:
    arguments = "train radiance data/fox --out r --steps 7 --model.log2-hashmap-size 15 --overwrite"
    assert cli.main(arguments.split()) == 0
    (scene, config, out, overwrite) = training.calls[0]
    assert (scene, out, overwrite) == (Path("data/fox"), Path("r"), True)
    assert (config.run.steps, config.model.log2_hashmap_size) == (7, 15)
    assert config.optim == RadianceConfig().optim


def test_flags_win_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("[run]\nseed = 3\nsplit_every = 5\n[optim]\nlr = 0.5\n")
    for config in (["--config", str(path)], [f"--config={path}"]):
        given = parse(Radiance, RadianceConfig, "radiance", ["fox", *config, "--seed", "4"])
        assert given.run == RunConfig(seed=4, split_every=5)
        assert given.optim.lr == 0.5


def test_train_splats_passes_what_was_typed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import neural.train.tasks.splats

    calls: list[tuple] = []
    module = types.ModuleType("neural.train.tasks.splats.run")
    module.train = lambda *arguments, **options: calls.append((arguments, options))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(neural.train.tasks.splats, "run", module, raising=False)
    path = tmp_path / "a.toml"
    path.write_text('[run]\nseed = 3\n[densify]\nstrategy = "mcmc"\nevery = 7\n')
    typed = f"train splats data/fox --steps 7 --model.target 10MB --densify.every 9 --config {path}"
    assert cli.main(typed.split()) == 0
    (((scene, config), options),) = calls
    assert (scene, options) == (Path("data/fox"), {"out": None, "overwrite": False, "watch": None})
    assert (config.run.steps, config.run.seed, config.model.target) == (7, 3, "10MB")
    assert config.densify == DensifyConfig(strategy="mcmc", every=9)
    assert config.optim == SplatsConfig().optim


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train splat fox", "no task 'splat'; did you mean 'splats'?"),
        ("train splats fox --model.target tiny", "--model.target must be a size such as 10MB or 800kB, got 'tiny'"),
        ("train splats fox --model.target 1MB --model.max-gaussians 9", "exclude each other"),
        ("train splats fox --densify.strategy best", "best"),
        ("train splats fox --optim.coarse 3", "--optim.coarse must be 1, 2, 4 or 8"),
        ("train splats", "required"),
        ("tran radiance fox", "no command 'tran'; did you mean 'train'?"),
        ("train radience fox", "no task 'radience'; did you mean 'radiance'?"),
        ("train radiance", "required"),
        ("train radiance fox --model.log2-hashmapsize 3", "--model.log2-hashmap-size"),
        ("train radiance fox --steps many", "many"),
        ("train radiance fox --steps 5 --minutes 1", "exclude each other"),
        ("train radiance fox --optim.lr -1", "--optim.lr must be above 0"),
        ("train radiance fox --config none.toml", "none.toml: cannot be read"),
        ("render run --path nowhere.json", "--path must be orbit, train or a file with poses"),
        ("render run --frames 0", "--frames"),
        ("reconstruct photos --minutes -3", "--minutes must be above 0"),
        ("reconstruct photos --minutes 1 --train.run.steps 5", "exclude each other"),
        ("info fox --draw", "--draw wants a file"),
        ("doctor --please", "--please"),
        ("", "neural --help lists all commands"),
        ("train", "usage: neural train TASK"),
    ],
)
def test_what_cannot_be_meant_exits_with_2(arguments: str, message: str, training, capsys) -> None:
    assert cli.main(arguments.split()) == 2
    printed = capsys.readouterr()
    assert message in " ".join((printed.out + printed.err).replace("│", " ").split())
    assert training.calls == []


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (
            SceneFormatError("fox/transforms.json", "fl_x must be above 0, got 0"),
            3,
            "fl_x must be above 0, got 0",
        ),
        (CheckpointError("r: run.seed: 0 there, 1 here"), 3, "run.seed: 0 there"),
        (BackendUnavailable("no CUDA device; use --device cpu"), 1, "use --device cpu"),
        (DivergenceError(7, "the loss is nan"), 1, "step 7: the loss is nan; the last checkpoint is untouched"),
        (NotSaved("r/checkpoints/20: no room; earlier checkpoints are intact"), 1, "earlier checkpoints are intact"),
        (OSError(28, "No space left on device", "r/metrics.jsonl"), 1, "No space left on device: 'r/metrics.jsonl'"),
        (Interrupted(2), 130, "SIGINT; saved"),
        (Interrupted(15), 143, "SIGTERM; saved"),
    ],
)
def test_errors_become_one_line_and_a_code(error: BaseException, code: int, message: str, training, capsys) -> None:
    training.error = error
    assert cli.main(["train", "radiance", "fox"]) == code
    printed = capsys.readouterr().err
    assert message in printed
    assert "Traceback" not in printed
    assert printed.count("\n") == 1


def test_a_reader_that_leaves_early_is_no_error() -> None:
    """As `neural --help | head -1` does, with more to say than a pipe holds."""
    script = "import sys; from neural import cli; cli._help = lambda: 'words ' * 100_000; sys.exit(cli.main(['-h']))"
    command = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert command.stdout is not None and command.stderr is not None
    assert command.stdout.read(5) == "words"
    command.stdout.close()
    assert command.stderr.read() == ""
    assert command.wait(timeout=20) == 1
    command.stderr.close()


def test_a_bug_keeps_its_traceback(training) -> None:
    training.error = ZeroDivisionError("ours")
    with pytest.raises(ZeroDivisionError):
        cli.main(["train", "radiance", "fox"])


def test_eval_and_render_call_the_run(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    calls = []

    class Run:
        kind = "radiance field"
        scene = types.SimpleNamespace(
            splits={"train": (1, 2), "test": (0,)}, cameras=types.SimpleNamespace(sizes=np.array([[9, 9]]))
        )

        def evaluate(self, **options: object) -> str:
            calls.append(options)
            return "mean PSNR 31.00 dB"

        def render(self, **options: object) -> Path:
            calls.append(options)
            return Path("r/orbit.mp4")

    monkeypatch.setattr(neural, "load_run", lambda path, device: calls.append((path, device)) or Run(), raising=False)
    assert cli.main(["eval", "r", "--background", "black"]) == 0
    assert cli.main(["render", "r", "--frames", "9", "--device", "cpu"]) == 0
    assert capsys.readouterr().out == "mean PSNR 31.00 dB\n"  # rendering itself says what it has written
    assert calls == [
        (Path("r"), "auto"),
        {"background": "black"},  # what was not given is left to the run
        (Path("r"), "cpu"),
        {"frames": 9},
    ]  # fmt: skip


def test_the_flags_are_frozen() -> None:
    """Flags are a promise to scripts: a new one is added here on purpose, none goes away."""
    import dataclasses

    from neural.cli import eval as eval_command
    from neural.cli import render

    def names(kind: type) -> list[str]:
        return [field.name for field in dataclasses.fields(kind)]

    assert names(eval_command.Eval) == ["run", "split", "background", "lpips", "resolution", "device"]
    assert names(render.Render) == ["run", "path", "out", "frames", "fps", "downscale", "size", "crop", "device"]
    assert names(Radiance) == ["scene", "out", "overwrite", "view", "config", "model", "sampling", "optim", "run"]
    assert names(RunConfig) == [
        "steps", "minutes", "seed", "device", "checkpoint_minutes", "eval_every", "log_every",
        "downscale", "background", "split_every",
    ]  # fmt: skip
