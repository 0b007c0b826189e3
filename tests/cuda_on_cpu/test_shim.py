"""The CUDA-on-CPU shim: what CUDA defines comes out right, on a GPU too, and planted mistakes are found."""

import functools
import math
from pathlib import Path
from types import ModuleType

import pytest
import torch

from neural.cuda import cubins, jit
from neural.errors import BackendUnavailable

SAMPLES = Path(__file__).with_name("samples")


@pytest.fixture
def run(cuda_device: torch.device, monkeypatch: pytest.MonkeyPatch):
    """`run(kernel, threads, *args)` runs a kernel of correct.cu on CPU tensors, by way of the GPU if it has one."""
    if cuda_device.type == "cuda":
        monkeypatch.setattr(cubins, "compile", functools.partial(cubins.compile, folder=SAMPLES))
        options = {}
    else:
        options = {"folder": SAMPLES}

    def run(kernel: str, threads, *args, **more) -> None:
        moved = [arg.to(cuda_device) if isinstance(arg, torch.Tensor) else arg for arg in args]
        jit.launch("correct", kernel, {}, threads, moved, **options, **more)
        for arg, result in zip(args, moved, strict=True):
            if isinstance(arg, torch.Tensor):
                arg.copy_(result)

    return run


@pytest.fixture
def run_faulty(cuda_on_cpu: ModuleType):
    def run(kernel: str, *args, **options) -> None:
        cuda_on_cpu.launch("faulty", kernel, {}, 64, args, block=64, folder=SAMPLES, **options)

    return run


def test_nvrtc_takes_the_same_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEURAL_CACHE_DIR", str(tmp_path))
    try:
        cubins.version()
    except BackendUnavailable as error:
        pytest.skip(str(error))
    for source in ("correct", "faulty"):
        assert cubins.compile(source, {}, "sm_75", folder=SAMPLES)


def test_reduction_with_shuffles_shared_memory_and_atomics(run) -> None:
    values = torch.rand(5000, generator=torch.Generator().manual_seed(0))
    out = torch.zeros(1)
    run("total", 5000, values, 5000, 2.0, out, block=256)
    torch.testing.assert_close(out[0].double(), 2 * values.double().sum(), rtol=1e-6, atol=0)


def test_dynamic_shared_memory(run) -> None:
    values = torch.arange(10 * 96)
    out = torch.empty_like(values)
    run("reverse", 960, values, out, block=96, shared_bytes=96 * 8)
    assert torch.equal(out, values.view(10, 96).flip(1).flatten())


def test_shared_memory_wherever_it_is_declared(run, cuda_device: torch.device) -> None:
    values = torch.rand(64, generator=torch.Generator().manual_seed(0))
    out, unset = torch.zeros(64), torch.zeros(64)
    run("declarations", 64, values, out, unset, block=64, shared_bytes=256)
    assert torch.equal(out, 2 * values.flip(0))
    if cuda_device.type == "cpu":
        assert unset.isnan().all()


def test_collectives_follow_the_definition(run) -> None:
    v = [int(x) for x in torch.randint(0, 50, (32,), generator=torch.Generator().manual_seed(1))]
    out = torch.full((12, 32), -1, dtype=torch.int64)
    run("collectives", 32, torch.tensor(v), out, block=32)
    lanes = range(32)
    divisible = sum(1 << i for i in lanes if v[i] % 3 == 0)
    expected = [
        [v[5] for i in lanes],
        [v[i // 8 * 8 + 3] for i in lanes],
        [v[i - 3] if i % 16 >= 3 else v[i] for i in lanes],
        [v[i + 2] if i % 8 < 6 else v[i] for i in lanes],
        [v[i ^ 9] for i in lanes],
        [divisible for i in lanes],
        [1 for i in lanes],
        [sum(1 << j for j in lanes if v[j] % 4 == v[i] % 4) for i in lanes],
        [0 for i in lanes],
        [2 * v[i ^ 1] for i in lanes],
        [v[i ^ 1] if i < 16 else v[i ^ 2] for i in lanes],
        [1 for i in lanes],
    ]
    assert out.tolist() == expected


def test_atomics(run) -> None:
    n = 700
    counters = torch.tensor([0, 0, 0, 0, -1, 0, 0], dtype=torch.int32)
    wide, sums, hits = torch.zeros(2, dtype=torch.int64), torch.zeros(2), torch.zeros(n, dtype=torch.int32)
    run("atomics", n, n, counters, wide, sums, hits, block=64)
    parity = 0
    for i in range(n):
        parity ^= i
    assert counters.tolist() == [
        n, max(i * 7 % 1000 for i in range(n)), -max(i * 11 % 1000 for i in range(n)),
        2**31 - 1, ~0b11111, parity, -2 * n,
    ]  # fmt: skip
    assert wide.tolist() == [sum(range(n)) << 20, (n - 1) << 33]
    assert sums.tolist() == [n / 2, n - 1]
    assert hits.tolist() == [1] * n


def test_three_dimensional_launch_covers_each_index_once(run) -> None:
    nx, ny, nz = 19, 5, 3
    out = torch.zeros(nz * ny * nx, dtype=torch.int64)
    run("indices", (nx, ny, nz), nx, ny, nz, out, block=(8, 2, 2))
    assert torch.equal(out, torch.arange(nx * ny * nz) + 3_000_000)


def test_intrinsics(run) -> None:
    x, word = 0.75, 0x00F0_1230
    bits, floats = torch.zeros(8, dtype=torch.int64), torch.zeros(12)
    run("intrinsics", 1, x, word, bits, floats, None, block=1)
    assert bits.tolist() == [
        word.bit_count(), 8, 5, int(f"{word:032b}"[::-1], 2), word * 0x9E3779B9 >> 32, 0x3F400000, 2, 1,
    ]  # fmt: skip
    expected = [math.exp(x), math.log(x), math.sin(x), math.cos(x), x**-0.5, 2 * x + 1, 1 / x, x,
                math.sin(math.pi * x), math.cos(math.pi * x), 2 * x + 4, 2**x]  # fmt: skip
    torch.testing.assert_close(floats, torch.tensor(expected), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kernel", ["missing_barrier", "missing_second_barrier"])
def test_missing_barrier_changes_the_result(kernel: str, run_faulty) -> None:
    rounds = 1 if kernel == "missing_barrier" else 4
    values = torch.rand(rounds, 64, generator=torch.Generator().manual_seed(0))
    out = torch.zeros(64)
    run_faulty(kernel, values, out)
    assert not torch.equal(out, values.flip(1).sum(0))


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        ("early_return", r"barrier that other threads of the block have passed by returning"),
        ("two_barriers", r"waits at this barrier while others wait at another"),
        ("divergent_shuffle", r"collective that other lanes of its mask do not come to"),
        ("shuffle_from_outside", r"reads a lane that takes no part"),
        ("left_out_of_mask", r"mask leaves it out"),
    ],
)
def test_divergence_is_found(kernel: str, message: str, run_faulty, cuda_on_cpu: ModuleType) -> None:
    with pytest.raises(cuda_on_cpu.KernelFault, match=rf"faulty\.{kernel}: line \d+, block \(0, 0, 0\).*{message}"):
        run_faulty(kernel, torch.zeros(64))


def test_overrun_of_dynamic_shared_memory_is_found(run_faulty, cuda_on_cpu: ModuleType) -> None:
    with pytest.raises(cuda_on_cpu.KernelFault, match="writes past its dynamic shared memory"):
        run_faulty("shared_overrun", torch.zeros(64), shared_bytes=256)


@pytest.mark.parametrize("offset", [4, 1000, -5000])
def test_read_outside_a_tensor_is_found(offset: int, run_faulty, cuda_on_cpu: ModuleType) -> None:
    values, out = torch.arange(128.0), torch.zeros(64)
    run_faulty("read_past_end", values[:64], 64, out)  # within the storage
    assert torch.equal(out, values[64:])
    with pytest.raises(cuda_on_cpu.KernelFault, match=r"thread \(\d+, 0, 0\): touches memory .* of argument 0"):
        run_faulty("read_past_end", values[:64], 64 + offset, out)


@pytest.mark.parametrize(("n", "offset"), [(64, 1), (63, 0)])
def test_write_past_the_end_is_found(n: int, offset: int, run_faulty, cuda_on_cpu: ModuleType) -> None:
    run_faulty("write_past_end", 0, torch.zeros(64))
    with pytest.raises(cuda_on_cpu.KernelFault, match="past the end of"):
        run_faulty("write_past_end", offset, torch.zeros(n))


def test_stack_overflow_is_found(run_faulty, cuda_on_cpu: ModuleType) -> None:
    with pytest.raises(cuda_on_cpu.KernelFault, match="256 KiB of stack"):
        run_faulty("bottomless", 100000, torch.zeros(64))


def test_views_of_one_storage_share_memory(run) -> None:
    values = torch.arange(64)
    run("reverse", 32, values[:32], values[32:], block=32, shared_bytes=256)
    assert values.tolist() == [*range(32), *range(31, -1, -1)]


def test_parameter_types_are_checked(run_faulty) -> None:
    with pytest.raises(TypeError, match=r"narrow_integer takes '\?p', got 'ip'"):
        run_faulty("narrow_integer", 3, torch.zeros(1))
    with pytest.raises(TypeError, match="early_return takes 'p', got 'f'"):
        run_faulty("early_return", 1.0)


def test_order_of_threads_depends_on_the_seed_alone(cuda_on_cpu: ModuleType) -> None:
    values = torch.rand(64, generator=torch.Generator().manual_seed(0))
    outs = []
    for seed in (5, 5, 6):
        cuda_on_cpu.reseed(seed)
        outs.append(torch.zeros(64))
        cuda_on_cpu.launch("faulty", "missing_barrier", {}, 64, (values, outs[-1]), block=64, folder=SAMPLES)
    outs = [out.nan_to_num(nan=-1.0) for out in outs]
    assert torch.equal(outs[0], outs[1])
    assert not torch.equal(outs[0], outs[2])
