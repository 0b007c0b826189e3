"""Set-up shared by all tests: passive OpenMP waits (before torch loads), data folder, devices, instruction sets."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def neural_data() -> Path:
    """The folder of real captures; tests that need it skip without it."""
    folder = os.environ.get("NEURAL_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("set NEURAL_DATA to the folder of real captures to run this test")
    return Path(folder)


def _isas() -> list[str]:
    from neural.cuda import native

    return native.available_isas()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "isa" in metafunc.fixturenames:
        metafunc.parametrize("isa", _isas(), indirect=True)


@pytest.fixture
def isa(request: pytest.FixtureRequest):
    """Runs the test once per instruction set that this machine has."""
    from neural.cuda import native

    before = native.active_isa()
    native.set_isa(request.param)
    yield request.param
    native.set_isa(before)
