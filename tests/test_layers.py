"""Data flows one way: a module imports lower ranks only, or siblings inside its folder."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LINKED = ("encodings", "cuda", "scenes", "viewer")
# The plan's ranks; a fraction orders the modules of one rank among themselves.
RANKS = {
    0: "errors atomic file_lock interrupt memory settings cuda",
    1: "lenses poses emulator color morton exr",
    1.1: "cameras",
    1.2: "rays arrangement",
    1.3: "paths",
    2: "scenes encodings mlp",
    3: "fields gaussians",
    4: "render",
    5: "losses metrics lpips",
    6: "optim densify",
    6.7: "viewer.outlook",
    6.8: "viewer.bundle viewer.levels",  # files of a folder of another rank
    6.9: "viewer.page",
    6.5: "surfaces",
    6.6: "texture",
    7: "maps checkpoint runs log evaluate evaluate_sdf meshing report video png compress export",
    7.5: "overview",
    8: "train config info doctor",
    8.5: "edit",
    9: "viewer",
    9.4: "first_look",
    9.5: "reconstruction",
    10: "cli",
    11: "__main__",
}
RANK = {name: rank for rank, names in RANKS.items() for name in names.split()}
FOLDERS = ("neural", "neural.train.tasks", "neural.viewer")  # which of their modules is imported decides
SHARED = {"capture", "field"}  # what tasks have in common; neither needs the other
ANYWHERE = {"errors"}  # the one module that everything may import


def room(module: str) -> str | None:
    """`neural.cuda.jit` -> `cuda`; None for `neural` itself and for other packages."""
    parts = module.split(".")
    if parts[0] != "neural" or len(parts) == 1:
        return None
    file = ".".join(parts[1:3])
    return file if file in RANK else parts[1]


def imports(path: Path, module: str) -> list[tuple[int, str]]:
    """Line and absolute name of everything of ours that a file imports, wherever in the file."""
    found = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found += [(node.lineno, f"{base}.{alias.name}" if base in FOLDERS else base) for alias in node.names]
    return [(line, name) for line, name in found if name.split(".")[0] == "neural"]


def violations(root: Path) -> list[str]:
    """Every import that goes up or sideways, as `file:line: why`."""
    folders = [("neural", root / "neural"), *((f"neural.{name}", root / name) for name in LINKED)]
    wrong = []
    for prefix, folder in folders:
        for path in sorted(folder.rglob("*.py")):
            relative = path.relative_to(folder)
            if prefix == "neural" and relative.parts[0] in (*LINKED, "__init__.py"):
                continue  # the links are seen in place; the facade names modules of every rank
            module = ".".join([prefix, *relative.with_suffix("").parts]).removesuffix(".__init__")
            here = room(module)
            where = path.relative_to(root).as_posix()
            if here not in RANK:
                wrong.append(f"{where}: give {here!r} a rank in {Path(__file__).name}")
                continue
            for line, name in imports(path, module):
                there = room(name)
                if there is None or there == here or there in ANYWHERE or there.startswith("__"):
                    continue
                if there not in RANK:
                    wrong.append(f"{where}:{line}: imports {name}, which has no rank (import modules, not the facade)")
                elif RANK[there] >= RANK[here]:
                    wrong.append(f"{where}:{line}: {here} (rank {RANK[here]}) imports {there} (rank {RANK[there]})")
    return wrong


def crossings(root: Path) -> list[str]:
    """Every import of a task's parts from outside that task, as `file:line: why`; commands and the facade may."""
    train = root / "neural" / "train"
    wrong = []
    for path in sorted(train.rglob("*.py")):
        relative = path.relative_to(train)
        if relative == Path("__init__.py"):
            continue
        here = relative.parts[1] if relative.parts[0] == "tasks" else None
        module = ".".join(["neural", "train", *relative.with_suffix("").parts])
        for line, name in imports(path, module):
            there = name.removeprefix("neural.train.tasks.").split(".")[0] if ".train.tasks." in name else here
            if there != here and (here is None or here in SHARED or there not in SHARED):
                wrong.append(f"{path.relative_to(root).as_posix()}:{line}: {here or 'the loop'} imports {there}")
    return wrong


def test_imports_go_down_the_ranks() -> None:
    assert violations(ROOT) == []


def test_tasks_import_nothing_of_one_another() -> None:
    assert crossings(ROOT) == []


@pytest.mark.parametrize(
    ("file", "line", "caught"),
    [
        ("tasks/sdf/run.py", "from neural.train.tasks.image.data import ImageData", "sdf imports image"),
        ("tasks/sdf/run.py", "from neural.train.tasks.image import data", "sdf imports image"),
        ("tasks/sdf/run.py", "from neural.train.tasks import image", "sdf imports image"),
        ("loop.py", "from neural.train.tasks import field", "the loop imports field"),
        ("tasks/field/run.py", "from neural.train.tasks.sdf import task", "field imports sdf"),
        ("tasks/field/run.py", "def f():\n    import neural.train.tasks.capture.run", "field imports capture"),
        ("loop.py", "from neural.train.tasks.field.task import FieldTask", "the loop imports field"),
        (
            "tasks/sdf/run.py",
            "from neural.train.tasks.field.task import FieldTask\nfrom neural.train import loop",
            None,
        ),
        ("tasks/sdf/run.py", "from neural.train.tasks.sdf import pictures", None),
    ],
)
def test_a_planted_crossing_is_caught(tmp_path: Path, file: str, line: str, caught: str | None) -> None:
    path = tmp_path / "neural" / "train" / file
    path.parent.mkdir(parents=True)
    path.write_text(line)
    found = crossings(tmp_path)
    assert [text.rpartition(": ")[2] for text in found] == ([] if caught is None else [caught])


@pytest.mark.parametrize(
    ("file", "line", "caught"),
    [
        ("cuda/planted.py", "from neural.viewer import server", "cuda (rank 0) imports viewer (rank 9)"),
        ("cuda/planted.py", "from neural.settings import nearest", "cuda (rank 0) imports settings (rank 0)"),
        ("scenes/files/planted.py", "import neural.gaussians", "scenes (rank 2) imports gaussians (rank 3)"),
        (
            "scenes/planted.py",
            "def f():\n    from neural.encodings.grid import G",
            "imports encodings (rank 2)",
        ),
        ("neural/metrics.py", "from .train import config", "metrics (rank 5) imports train (rank 8)"),
        (
            "neural/fields/planted.py",
            "from ..render import volume",
            "fields (rank 3) imports render (rank 4)",
        ),
        (
            "neural/render/__init__.py",
            "from ..losses import huber",
            "render (rank 4) imports losses (rank 5)",
        ),
        ("neural/checkpoint.py", "from neural import train", "checkpoint (rank 7) imports train (rank 8)"),
        ("neural/checkpoint.py", "from neural import HashGrid", "which has no rank"),
        ("viewer/page.py", "from neural import checkpoint", "viewer.page (rank 6.9) imports checkpoint (rank 7)"),
        ("neural/checkpoint.py", "from neural.viewer import server", "checkpoint (rank 7) imports viewer (rank 9)"),
        ("neural/strange.py", "", "give 'strange' a rank"),
    ],
)
def test_a_planted_violation_is_caught(tmp_path: Path, file: str, line: str, caught: str) -> None:
    for name in ("neural", *LINKED):
        (tmp_path / name).mkdir()
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(line)
    found = violations(tmp_path)
    assert len(found) == 1
    assert found[0].startswith(file)
    assert caught in found[0]


@pytest.mark.parametrize(
    ("file", "line"),
    [
        (
            "cuda/planted.py",
            "from neural.errors import NeuralError\nfrom neural.cuda import jit\nimport torch",
        ),
        (
            "neural/train/radiance.py",
            "from neural.train import config\nfrom . import schedules\nimport neural.metrics",
        ),
        ("neural/cli/eval.py", "import neural\nfrom neural import __version__, doctor"),
        ("neural/export.py", "from neural.viewer.page import write_page"),
        ("neural/__init__.py", "from neural.viewer import View"),
    ],
)
def test_what_is_allowed_passes(tmp_path: Path, file: str, line: str) -> None:
    for name in ("neural", *LINKED):
        (tmp_path / name).mkdir()
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(line)
    assert violations(tmp_path) == []
