"""What the site generates: the command line's reference from `--help`, the Python reference from docstrings.

mkdocs calls the functions named `on_...`. Nothing here imports torch: help does not, and docstrings are read, not run.
"""

import contextlib
import importlib
import io
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

import neural
from neural import cli

ROOT = Path(__file__).resolve().parents[2]
COPY = ROOT / "build" / "docs" / "neural"
COLUMNS = "88"
FACADES = {"train": "_CALLS", "edit": "_NAMES"}  # public modules that load their names at first use, and where from
PICTURES = (".github/images", "tests/bench/results")  # folders of the repository whose pictures pages may show
MATRIX = max((ROOT / "tests" / "bench" / "results").glob("applications-*.json"))

# title of a page, its file, what it says first, prefixes of the modules whose public names it has
GROUPS = (
    ("Scenes and pictures", "scenes.md", "What goes in, and cameras and rays.",
     ("neural.scenes", "neural.cameras", "neural.rays", "neural.paths")),
    ("Photographs, files, editing", "files.md", "From photographs to a scene; scenes out, changed and shown.",
     ("neural.reconstruct", "neural.export", "neural.edit", "neural.viewer", "neural.view")),
    ("Encodings", "encodings.md", "From positions to features: modules from [N, D] to [N, K].", ("neural.encodings",)),
    ("Fields and Gaussians", "fields.md", "What is trained.", ("neural.mlp", "neural.fields", "neural.gaussians")),
    ("Training and runs", "training.md", "The calls that train, what they are told, and what they give.",
     ("neural.train",)),
    ("Rendering, losses, optimisers", "rendering.md", "The parts of a training, for your own loop.",
     ("neural.render", "neural.losses", "neural.metrics", "neural.optim")),
    ("Errors", "errors.md", "What can be raised where a caller can react.", ("neural.errors",)),
    ("More", "more.md", "The rest of the public names.", ("",)),
)  # fmt: skip


def on_startup(**_: Any) -> None:
    """The copy that docstrings are read from: mkdocstrings wants it to be there when it is configured."""
    _copy_sources()


def on_config(config: Any) -> Any:
    """The navigation of the generated pages; where snippets are looked for."""
    config["mdx_configs"]["pymdownx.snippets"]["base_path"] = [str(ROOT)]
    pages: list[dict[str, Any]] = [{"Command line": "reference/commands.md"}]
    pages += [{title: f"reference/{file}"} for title, file, _, _ in GROUPS if _members()[file]]
    pages.append({"Ops": "reference/ops.md"})
    parts = {title: part for entry in config["nav"] for title, part in entry.items()}
    parts["Reference"] += pages
    named = json.dumps(config["nav"])
    for path in sorted((ROOT / "docs").glob("*.md")):  # a page that the navigation does not name ends the guide
        if f'"{path.name}"' not in named:
            parts["Guide"].append(path.name)
    return config


def on_files(files: Files, *, config: Any) -> Files:
    """The generated pages themselves."""
    pages = {"commands.md": commands(), "ops.md": ops()}
    members = _members()
    for title, file, lead, _ in GROUPS:
        if members[file]:
            pages[file] = f"# {title}\n\n{lead}\n\n" + "\n\n".join(_entry(name) for name in members[file]) + "\n"
    for name, text in pages.items():
        files.append(File.generated(config, f"reference/{name}", content=text))
    for folder in PICTURES:
        for path in sorted((ROOT / folder).iterdir()):
            if path.suffix in (".png", ".webp", ".jpg", ".gif"):
                files.append(File.generated(config, f"images/{path.name}", abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Pages name pictures by their place in the repository; tables that the code knows stand in for `<!-- ... -->`."""
    up = "../" * page.file.src_uri.count("/")
    for folder in PICTURES:
        markdown = markdown.replace(f"({up}../{folder}/", f"({up}images/")
    markdown = re.sub("<!-- captures -->", lambda _: captures(), markdown)
    return re.sub(r"<!-- encodings: (\w+) -->", lambda found: matrix(found[1]), markdown)


def captures() -> str:
    """The kinds of captures that are read, and the files that they are known by."""
    from neural.scenes.formats.detect import FORMATS

    rows = [f"| {known.name} | `{known.files}` |" for known in FORMATS]
    return "\n".join(["| capture | files that are looked for |", "|---|---|", *rows])


def matrix(application: str) -> str:
    """What one application reached on every encoding, as measured last."""
    measured = [cell for cell in json.loads(MATRIX.read_text())["cells"] if cell["application"] == application]
    if not measured:
        raise RuntimeError(f"{MATRIX.name} has no application {application!r}")
    rows = ["| encoding | quality | parameters | training |", "|---|--:|--:|--:|"]
    for cell in measured:
        quality = f"{cell['quality']:.3f} IoU" if cell["unit"] == "IoU" else f"{cell['quality']:.2f} {cell['unit']}"
        size = f"{cell['table'] + cell['network']:,}"
        rows.append(f"| {cell['encoding']} | {quality} | {size} | {cell['train_seconds']:.0f} s |")
    return "\n".join([*rows, "", f"{measured[0]['about']}."])


def commands() -> str:
    """A page of every command's `--help`."""
    parts = [
        "# Command line\n",
        "Every command as `--help` prints it, generated when this site is built. Exit codes: 0 done, 1 this machine "
        "lacks something or the training diverged, 2 usage, 3 bad input, 130 and 143 interrupted and saved.\n",
        f'<div class="help" markdown>\n\n## neural\n\n```text\n{help_of([])}\n```\n',
    ]
    for words in every_command():
        parts.append(f"{'#' * (1 + len(words))} neural {' '.join(words)}\n\n```text\n{help_of(words)}\n```\n")
    return "\n".join([*parts, "</div>\n"])


def every_command() -> list[list[str]]:
    """The words of every command and of its own commands, in the order of the help."""
    found = []
    for name, (module, _) in cli.COMMANDS.items():
        found.append([name])
        for below in vars(importlib.import_module(module)).values():
            if isinstance(below, dict) and below and all(_is_command(value) for value in below.values()):
                found.extend([name, word] for word in below)
    return found


def help_of(words: list[str]) -> str:
    """What `neural WORDS --help` prints."""
    printed = io.StringIO()
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = COLUMNS
    try:
        with contextlib.redirect_stdout(printed):
            code = cli.main([*words, "--help"])
    finally:
        os.environ.pop("COLUMNS")
        if before is not None:
            os.environ["COLUMNS"] = before
    if code != 0 or not printed.getvalue().strip():
        raise RuntimeError(f"neural {' '.join(words)} --help ended with {code}")
    return printed.getvalue().rstrip()


def ops() -> str:
    """A page of the public functions of every op of the native core."""
    files = sorted(path for path in (ROOT / "cuda").glob("*.py") if "library.define(" in path.read_text())
    entries = [f"::: neural.cuda.{path.stem}\n    options: {{show_root_toc_entry: true}}" for path in files]
    lead = (
        "The native core: each has CPU kernels, CUDA kernels that are compiled at first use, and a reference in plain "
        "torch. They take and give torch tensors and take part in autograd and `torch.compile`. "
        "[How to add one](../extend/op.md)."
    )
    return f"# Ops\n\n{lead}\n\n" + "\n\n".join(entries) + "\n"


def _members() -> dict[str, list[str]]:
    """File of a page -> the public names on it."""
    public = {f"neural.{name}": module for name, module in neural._NAMES.items()}
    for module in neural._MODULES:
        names = getattr(importlib.import_module(f"neural.{module}"), FACADES[module]) if module in FACADES else ()
        full = [f"neural.{module}.{name}" for name in names] or [f"neural.{module}"]
        public |= dict.fromkeys(full, f"neural.{module}")
    result: dict[str, list[str]] = {file: [] for _, file, _, _ in GROUPS}
    for name, module in public.items():
        file = next(file for _, file, _, prefixes in GROUPS if module.startswith(prefixes))
        result[file].append(name)
    return result


def _is_command(value: Any) -> bool:
    """As in `neural.cli.COMMANDS`: a module and what it does."""
    return isinstance(value, tuple) and len(value) == 2 and str(value[0]).startswith("neural.cli.")


def _entry(name: str) -> str:
    return f"::: {name}"


def _copy_sources() -> None:
    """Griffe skips folders without `__init__.py`; four of ours must not have one, and the others do not need it."""
    shutil.rmtree(COPY, ignore_errors=True)
    shutil.copytree(ROOT / "neural", COPY, ignore=lambda _, names: [n for n in names if not _is_source(n)])
    for folder in [COPY, *(path for path in COPY.rglob("*") if path.is_dir())]:
        (folder / "__init__.py").touch()


def _is_source(name: str) -> bool:
    return name.endswith(".py") or ("." not in name.lstrip(".") and name not in ("__pycache__", "node_modules"))
