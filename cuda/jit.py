"""CUDA kernels compiled where they run: NVRTC to cubin (cubins.py), loaded and launched through cuda.core.

`launch(source, kernel, defines, threads, args)` runs `kernel` of `<source>.cu`, specialised by `defines`.
"""

import ctypes
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import index as index_of
from typing import Any

import torch
from torch import Tensor

from neural.cuda import cubins
from neural.errors import BackendUnavailable

Threads = int | tuple[int, int, int]
_NO_DEVICE = -2  # torch's index of the CPU is -1
_DEFAULT_SHARED_BYTES = 48 << 10  # dynamic shared memory above this must be asked for, per kernel


def launch(
    source: str,
    kernel: str,
    defines: Mapping[str, int | float | str],
    threads: Threads,
    args: Sequence[Tensor | int | float | None],
    *,
    block: Threads = 128,
    shared_bytes: int = 0,
) -> None:
    """Starts a kernel on torch's current stream of the device that the tensors are on.

    The first launch of a specialisation compiles it, or finds it in the disk cache. Nothing waits for the result.

    Args:
        source: Stem of a `.cu` file in this folder.
        kernel: Name of an `extern "C" __global__` function there.
        defines: Macros that specialise the source.
        threads: Total threads in x, or (x, y, z), rounded up to whole blocks; no thread at all is no launch.
        args: What the kernel takes, in order: tensors arrive as pointers, None as a null pointer, ints as i64,
            floats as fp32.
        block: Threads of a block in x, or (x, y, z).
        shared_bytes: Dynamic shared memory of a block.

    Raises:
        BackendUnavailable: NVRTC or cuda.core is not installed, or the device is too old or too new for them.
        TypeError, ValueError: Arguments that the kernel does not take, or tensors on different devices.
    """
    grid = blocks_of(threads, block)
    if 0 in grid:
        return
    device = _NO_DEVICE
    values: list[Any] = []
    for arg in args:
        if type(arg) is int:
            values.append(arg)
        elif isinstance(arg, Tensor):
            index = arg.get_device()
            if index != device:
                if device != _NO_DEVICE or index < 0:
                    raise ValueError(f"{kernel}: all tensors must be on one CUDA device, got {_devices(args)}")
                device = index
            values.append(arg.data_ptr())
        elif arg is None:
            values.append(0)
        elif isinstance(arg, float):
            values.append(ctypes.c_float(arg))
        else:
            values.append(int(index_of(arg)))  # a bool is an integer of one byte otherwise
    if device == _NO_DEVICE:
        raise ValueError(f"{kernel}: none of its arguments is a tensor, so there is no device to run on")
    key = (device, source, kernel, tuple(defines.items()))
    handle = _kernels.get(key) or _load(key, defines)
    handle.check(values)
    if torch.cuda.current_device() != device:
        with torch.cuda.device(device):
            handle.launch(grid, block, shared_bytes, values)
    else:
        handle.launch(grid, block, shared_bytes, values)


def blocks_of(threads: Threads, block: Threads) -> tuple[int, int, int]:
    """The grid: blocks of `block` threads that hold `threads`."""
    if isinstance(threads, int) and isinstance(block, int):
        return -(-threads // block), 1, 1
    tx, ty, tz = (threads, 1, 1) if isinstance(threads, int) else threads
    bx, by, bz = (block, 1, 1) if isinstance(block, int) else block
    return -(-tx // bx), -(-ty // by), -(-tz // bz)


@dataclass
class _Kernel:
    """A kernel loaded on one device."""

    name: str
    device: int
    core: Any  # the module cuda.core
    function: Any  # cuda.core.Kernel
    sizes: tuple[int, ...]  # bytes of each parameter
    shared_bytes: int = _DEFAULT_SHARED_BYTES  # dynamic shared memory granted so far

    def check(self, values: Sequence[Any]) -> None:
        """Refuses what CUDA would silently read as something else."""
        sizes = tuple([4 if type(value) is ctypes.c_float else 8 for value in values])
        if sizes != self.sizes:
            raise TypeError(
                f"{self.name} has parameters of {self.sizes} bytes, got arguments of {sizes}; declare integers i64, "
                "pass floats as float and everything else as int or tensor"
            )

    def launch(self, grid: tuple[int, int, int], block: Threads, shared_bytes: int, values: Sequence[Any]) -> None:
        """Starts the kernel; the device must be torch's current one."""
        if not getattr(_thread, "has_context", False):
            # torch makes a device's context current with its first call that needs it: this may be a thread without
            self.core.Device(self.device).set_current()
            _thread.has_context = True
        if shared_bytes > self.shared_bytes:
            self._grant(shared_bytes)
        config = self.core.LaunchConfig(grid=grid, block=block, shmem_size=shared_bytes)
        self.core.launch(_stream(self.core, self.device), config, self.function, *values)

    def _grant(self, shared_bytes: int) -> None:
        from cuda.bindings import driver

        attribute = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        (status,) = driver.cuKernelSetAttribute(attribute, shared_bytes, self.function.handle, self.device)
        if status != driver.CUresult.CUDA_SUCCESS:
            name = torch.cuda.get_device_name(self.device)
            raise ValueError(f"{self.name}: {name} cannot give a block {shared_bytes} bytes of shared memory")
        self.shared_bytes = shared_bytes


_Key = tuple[int, str, str, tuple[tuple[str, int | float | str], ...]]
_kernels: dict[_Key, _Kernel] = {}
_modules: dict[tuple[int, str, frozenset[tuple[str, int | float | str]]], Any] = {}
_streams: dict[tuple[int, int], Any] = {}
_lock = threading.Lock()
_thread = threading.local()


def _load(key: _Key, defines: Mapping[str, int | float | str]) -> _Kernel:
    """Compiles and loads on first use, once whatever the number of threads that ask."""
    device, source, kernel, _ = key
    core = _core()
    with _lock:
        if key in _kernels:
            return _kernels[key]
        module_key = (device, source, frozenset(defines.items()))
        if module_key not in _modules:
            arch = cubins.architecture_for(torch.cuda.get_device_capability(device))
            _modules[module_key] = core.ObjectCode.from_cubin(cubins.compile(source, defines, arch), name=source)
        with torch.cuda.device(device):
            core.Device(device).set_current()
            function = _modules[module_key].get_kernel(kernel)
            sizes = tuple(info.size for info in function.arguments_info)
        _kernels[key] = _Kernel(kernel, device, core, function, sizes)
        return _kernels[key]


def _core() -> Any:
    try:
        import cuda.core
    except ImportError as error:
        raise BackendUnavailable(
            f'CUDA kernels need cuda.core, which cannot be loaded ({error}); `pip install "neural[cuda]"` brings it'
        ) from error
    return cuda.core


def _stream(core: Any, device: int) -> Any:
    """torch's current stream; the public `current_stream` takes several times as long as the raw handle."""
    raw = torch._C._cuda_getCurrentRawStream(device)
    if raw == 0:
        return core.LEGACY_DEFAULT_STREAM
    stream = _streams.get((device, raw))
    if stream is None:
        stream = _streams[device, raw] = core.Stream.from_handle(raw)
    return stream


def _devices(args: Sequence[Tensor | int | float | None]) -> str:
    return ", ".join(sorted({str(arg.device) for arg in args if isinstance(arg, Tensor)}))
