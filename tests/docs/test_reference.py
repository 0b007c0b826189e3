"""The generated reference holds every command and every public name."""

import importlib.util
import types

import pytest

import neural
from neural import cli, edit, train
from neural.cli.edit import EDITS
from neural.cli.train import TASKS
from tests.docs.pages import ROOT

pytest.importorskip("mkdocs", reason="the documentation needs the dependency group docs")


@pytest.fixture(scope="module")
def hooks() -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs" / "site" / "hooks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_command_has_its_help(hooks: types.ModuleType) -> None:
    page = hooks.commands()
    for name in cli.COMMANDS:
        assert f"\n## neural {name}\n" in page
    for name in TASKS:
        assert f"\n### neural train {name}\n" in page
    for name in EDITS:
        assert f"\n### neural edit {name}\n" in page
    assert "--model.max-gaussians" in page


def test_every_public_name_is_on_one_page(hooks: types.ModuleType) -> None:
    listed = [name for names in hooks._members().values() for name in names]
    assert len(listed) == len(set(listed))
    public = {f"neural.{name}" for name in dir(neural) if name not in ("__version__", "train", "edit")}
    public |= {f"neural.train.{name}" for name in train._CALLS} | {f"neural.edit.{name}" for name in dir(edit)}
    assert set(listed) == public


def test_type_checkers_know_every_public_name() -> None:
    source = (ROOT / "neural" / "__init__.py").read_text()
    for name, module in neural._NAMES.items():
        assert f"    from {module} import {name} as {name}\n" in source, f"{name} is not below TYPE_CHECKING"


def test_tables_of_the_matrix_have_figures(hooks: types.ModuleType) -> None:
    for application in ("image", "radiance", "sdf", "volume"):
        assert hooks.matrix(application).count("\n| ") >= 9
