"""Launching: grids, arguments, and what is said when something is missing. The GPU's own tests are at the end."""

import ctypes
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from neural.cuda import cubins, jit

SAMPLES = Path(__file__).resolve().parents[1] / "cuda_on_cpu" / "samples"


@pytest.mark.parametrize(
    ("threads", "block", "grid"),
    [
        (1, 128, (1, 1, 1)),
        (128, 128, (1, 1, 1)),
        (129, 128, (2, 1, 1)),
        (0, 128, (0, 1, 1)),
        ((17, 3, 2), (8, 2, 1), (3, 2, 2)),
        ((17, 0, 2), (8, 2, 1), (3, 0, 2)),
        (2**40, 1024, (2**30, 1, 1)),
        ((64, 2, 1), 32, (2, 2, 1)),
    ],
)
def test_grid_holds_the_threads(threads, block, grid: tuple[int, int, int]) -> None:
    assert jit.blocks_of(threads, block) == grid


def test_no_threads_launch_nothing() -> None:
    jit.launch("no_such_source", "no_such_kernel", {}, 0, ())
    jit.launch("no_such_source", "no_such_kernel", {}, (4, 0, 1), (), block=(2, 2, 1))


def test_tensors_must_be_on_a_gpu() -> None:
    with pytest.raises(ValueError, match="one CUDA device, got cpu"):
        jit.launch("spherical_harmonics", "spherical_harmonics_forward", {}, 1, (torch.zeros(1),))
    with pytest.raises(ValueError, match="no device to run on"):
        jit.launch("spherical_harmonics", "spherical_harmonics_forward", {}, 1, (1, 2.0, None))


def _kernel(core: object = None) -> jit._Kernel:
    return jit._Kernel("kernel", 0, core, "function", (8, 8, 4))


def test_argument_sizes_are_checked() -> None:
    _kernel().check([1, 2, ctypes.c_float(3)])
    with pytest.raises(TypeError, match=r"parameters of \(8, 8, 4\) bytes, got arguments of \(8, 8\)"):
        _kernel().check([1, 2])
    with pytest.raises(TypeError, match="declare integers i64"):
        _kernel().check([1, 2, 3])


def test_context_is_made_current_once_per_thread_and_streams_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []
    core = SimpleNamespace(
        Device=lambda index: SimpleNamespace(set_current=lambda: calls.append(("current", index))),
        LaunchConfig=lambda **options: options,
        launch=lambda *args: calls.append(args),
        LEGACY_DEFAULT_STREAM="default",
        Stream=SimpleNamespace(from_handle=lambda raw: calls.append(("stream", raw)) or f"stream {raw}"),
    )
    monkeypatch.setattr(torch._C, "_cuda_getCurrentRawStream", lambda device: raw[0], raising=False)
    monkeypatch.setattr(jit, "_streams", {})
    config = {"grid": (1, 1, 1), "block": 32, "shmem_size": 0}
    raw = [0]

    def work() -> None:
        kernel = _kernel(core)
        for raw[0] in (0, 7, 7):
            kernel.launch((1, 1, 1), 32, 0, [1, 2])

    worker = threading.Thread(target=work)
    worker.start()
    worker.join()
    assert calls == [
        ("current", 0),
        ("default", config, "function", 1, 2),
        ("stream", 7),
        ("stream 7", config, "function", 1, 2),
        ("stream 7", config, "function", 1, 2),
    ]


@pytest.mark.parametrize("missing", ["cuda.core", "cuda.bindings"])
def test_a_missing_extra_names_its_remedy(missing: str) -> None:
    # in a process of its own: a module that was imported once cannot be made to miss
    program = f"""
import sys
sys.modules[{missing!r}] = None
from neural.cuda import cubins, jit
from neural.errors import BackendUnavailable
try:
    jit._core() if {missing!r} == "cuda.core" else cubins.version()
except BackendUnavailable as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert 'pip install "neural[cuda]"' in done.stdout


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU here; `make test-gpu` runs this on a machine that has one")
    compile_ = cubins.compile
    monkeypatch.setattr(cubins, "compile", lambda *args: compile_(*args, folder=SAMPLES))
    return torch.device("cuda", torch.cuda.current_device())


def _reverse(values: torch.Tensor, block: int, shared_bytes: int) -> torch.Tensor:
    out = torch.empty_like(values)
    jit.launch("correct", "reverse", {}, len(values), (values, out), block=block, shared_bytes=shared_bytes)
    return out


@pytest.mark.gpu
def test_gpu_launch_follows_the_current_stream(gpu: torch.device) -> None:
    stream = torch.cuda.Stream(gpu)
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)  # the kernel must wait for what its own stream does
        values = torch.arange(1 << 20, device=gpu) * 3
        out = _reverse(values, 256, 2048)
    stream.synchronize()
    assert torch.equal(out, values.view(-1, 256).flip(1).flatten())


@pytest.mark.gpu
def test_gpu_block_may_have_more_than_48_kib_of_shared_memory(gpu: torch.device) -> None:
    values = torch.arange(2048, device=gpu)
    assert torch.equal(_reverse(values, 1024, 60 << 10), values.view(-1, 1024).flip(1).flatten())
    with pytest.raises(ValueError, match="bytes of shared memory"):
        _reverse(values, 1024, 1 << 20)


@pytest.mark.gpu
def test_gpu_launch_from_a_thread_without_context(gpu: torch.device) -> None:
    values, results = torch.arange(256, device=gpu), []
    out = torch.empty_like(values)

    def work() -> None:
        jit.launch("correct", "reverse", {}, 256, (values, out), block=256, shared_bytes=2048)
        results.append(True)

    worker = threading.Thread(target=work)
    worker.start()
    worker.join()
    torch.cuda.synchronize()
    assert results and torch.equal(out, values.flip(0))


@pytest.mark.gpu
def test_gpu_wrong_arguments_are_refused(gpu: torch.device) -> None:
    with pytest.raises(TypeError, match="reverse has parameters of"):
        jit.launch("correct", "reverse", {}, 32, (torch.arange(32, device=gpu), 1.0), block=32)
    with pytest.raises(ValueError, match="one CUDA device"):
        jit.launch("correct", "reverse", {}, 32, (torch.arange(32, device=gpu), torch.arange(32)), block=32)
