"""Set-up shared by all tests: passive OpenMP waits (before torch loads), data folder, devices, instruction sets."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import importlib.util
import signal
import sys
import threading
from pathlib import Path
from types import ModuleType

import hypothesis
import pytest
import torch

# Who starts tests in the background of a script (nohup, some CI) has them ignore Ctrl-C, which some of them test.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Property tests try the same examples in every run, so that a failure belongs to the change at hand; new ones with
# NEURAL_EXPLORE (`make test-all`).
hypothesis.settings.register_profile("neural", deadline=None, derandomize=not os.environ.get("NEURAL_EXPLORE"))
hypothesis.settings.load_profile("neural")


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


@pytest.fixture(params=[1, 2], ids=["seed1", "seed2"])
def cuda_on_cpu(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Sends CPU tensors down an op's CUDA path, run by tests/cuda_on_cpu with two random orders of threads.

    Gives the shim module: `launch`, `reseed`, `KernelFault`.
    """
    return _use_shim(request.param, monkeypatch)


@pytest.fixture(params=[1, 2, pytest.param("gpu", marks=pytest.mark.gpu)], ids=["shim1", "shim2", "gpu"])
def cuda_device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """Where a test of a CUDA path puts its tensors: `cpu` under the shim, and `cuda` on a machine that has it."""
    if request.param != "gpu":
        _use_shim(request.param, monkeypatch)
        return torch.device("cpu")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU here; `make test-gpu` runs this on a machine that has one")
    return torch.device("cuda", torch.cuda.current_device())


def _use_shim(seed: int, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    from neural.cuda import checks, jit

    shim = _load("cuda_on_cpu_shim", Path(__file__).parent / "cuda_on_cpu" / "shim.py")
    if shim.COMPILER is None:
        pytest.skip("CUDA on the CPU needs g++ (or set CXX)")
    backend = checks.backend
    monkeypatch.setattr(checks, "backend", lambda tensor: "cuda" if backend(tensor) == "cpu" else backend(tensor))
    monkeypatch.setattr(jit, "launch", shim.launch)
    shim.reseed(1000 * seed)
    return shim


def _load(name: str, path: Path) -> ModuleType:
    """A file of tests/ as a module, once per process: test folders are no packages."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]
