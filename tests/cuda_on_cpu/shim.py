"""Runs unmodified CUDA kernels on the CPU: g++ compiles the `.cu`, runtime.cpp runs its threads as fibers.

`launch` takes what `neural.cuda.jit.launch` takes, with CPU tensors. It finds missing barriers (random thread
order), divergent barriers and collectives, shared memory read before it is written, accesses past the end of a
tensor's storage, and wrong parameter types. It does not find data races that no order of whole stretches between
synchronisation points shows, alignment faults, what fast maths rounds otherwise, or what depends on the size of a
GPU. Blocks run one after another: a kernel may not wait for a block that starts later.
"""

import ctypes
import functools
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from neural.cuda import cubins
from neural.cuda.jit import Threads, blocks_of

HERE = Path(__file__).resolve().parent
BUILD = HERE.parents[1] / "build" / "cuda_on_cpu"
COMPILER = shutil.which(os.environ.get("CXX") or "g++")
_FLAGS = [
    "-std=gnu++17", "-O1", "-fPIC", "-w", "-fvisibility=hidden", "-fno-strict-aliasing", "-fmax-errors=5",
    "-fstack-clash-protection",  # a large frame must not step over the guard below a fiber's stack
]  # fmt: skip
_DYNAMIC = re.compile(r"\bextern\s+__shared__\s+((?:__attribute__\s*\(\(.*?\)\)\s*)?)([\w:\s]+?)\s*(\w+)\s*\[\s*\]\s*;")
_STATIC = re.compile(r"\b__shared__\b")
_KERNEL = re.compile(r"\b__global__\s+void\s+(\w+)\s*\(")
_LAUNCHER = """
extern "C" __attribute__((visibility("default"))) const char* {0}_kinds() {{
    return cuda_on_cpu::Launcher<&{0}>::kinds;
}}
extern "C" __attribute__((visibility("default"))) const char* {0}_launch(
    void* const* args, const long* span_of, long n_args, const cuda_on_cpu::Span* spans, long n_spans,
    const unsigned* grid, const unsigned* block, size_t shared_bytes, unsigned long long seed) {{
    return cuda_on_cpu::run(&cuda_on_cpu::Launcher<&{0}>::call, args, span_of, n_args, spans, n_spans, grid, block,
                            shared_bytes, seed);
}}
"""

_seeds = [1]  # of the thread order of the next launch; a list so that `reseed` and `launch` share it
_lock = threading.Lock()  # the runtime runs one kernel at a time


class KernelFault(AssertionError):
    """A kernel did what CUDA does not define; the message names line, block and thread."""


def reseed(seed: int) -> None:
    """Starts another sequence of thread orders."""
    _seeds[0] = seed


def launch(
    source: str,
    kernel: str,
    defines: Mapping[str, int | float | str],
    threads: Threads,
    args: Sequence[Tensor | int | float | None],
    *,
    block: Threads = 128,
    shared_bytes: int = 0,
    folder: Path = cubins.FOLDER,
) -> None:
    """Runs a kernel to its end on CPU tensors, in place of `neural.cuda.jit.launch`.

    Raises:
        KernelFault: The kernel broke a rule of CUDA.
        TypeError: An argument of another type than the kernel's parameter.
        ValueError: The source does not compile.
    """
    grid = blocks_of(threads, block)
    if 0 in grid:
        return
    library = _library(source, tuple(sorted(defines.items())), folder)
    kinds = getattr(library, f"{kernel}_kinds")
    kinds.restype = ctypes.c_char_p
    values = [_value(arg) for arg in args]
    given = "".join(kind for kind, _ in values)
    if kinds().decode() != given:
        raise TypeError(
            f"{kernel} takes {kinds().decode()!r}, got {given!r} (p pointer or null, i integer of 8 bytes, f float, "
            "? a type that jit.launch cannot pass)"
        )
    bx, by, bz = (block, 1, 1) if isinstance(block, int) else block
    if bx * by * bz > 1024:
        raise ValueError(f"{kernel}: a block has at most 1024 threads, got {(bx, by, bz)}")
    span_of, spans = _spans(args)
    pointers = (ctypes.c_void_p * len(values))(*[ctypes.addressof(value) for _, value in values])
    three = ctypes.c_uint * 3
    run = getattr(library, f"{kernel}_launch")
    run.restype = ctypes.c_char_p
    run.argtypes = [
        ctypes.c_void_p, ctypes.c_void_p, ctypes.c_long, ctypes.c_void_p, ctypes.c_long,
        ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_ulonglong,
    ]  # fmt: skip
    with _lock:
        seed = _seeds[0]
        _seeds[0] += 1
        fault = run(
            pointers, span_of, len(span_of), spans, len(spans), three(*grid), three(bx, by, bz), shared_bytes, seed
        )
    if fault:
        raise KernelFault(f"{source}.{kernel}: {fault.decode()} (seed {seed})")


class _Span(ctypes.Structure):
    """A tensor's storage: where it is, and the first argument that lies in it."""

    _fields_ = (("data", ctypes.c_void_p), ("bytes", ctypes.c_size_t), ("argument", ctypes.c_long))


def _spans(args: Sequence[Tensor | int | float | None]) -> tuple[ctypes.Array, ctypes.Array]:
    """For each argument the index of its storage (-1: none), and the storages, each once."""
    spans: dict[int, tuple[int, _Span]] = {}
    span_of = []
    for i, arg in enumerate(args):
        if not isinstance(arg, Tensor) or arg.untyped_storage().nbytes() == 0:
            span_of.append(-1)
            continue
        storage = arg.untyped_storage()
        entry = spans.setdefault(storage.data_ptr(), (len(spans), _Span(storage.data_ptr(), storage.nbytes(), i)))
        span_of.append(entry[0])
    return (ctypes.c_long * len(span_of))(*span_of), (_Span * len(spans))(*[span for _, span in spans.values()])


def _value(arg: Tensor | int | float | None) -> tuple[str, ctypes.c_longlong | ctypes.c_float]:
    if isinstance(arg, Tensor):
        return "p", ctypes.c_longlong(arg.data_ptr())
    if arg is None:
        return "p", ctypes.c_longlong(0)
    if isinstance(arg, float):
        return "f", ctypes.c_float(arg)
    return "i", ctypes.c_longlong(arg)


@functools.cache
def _library(source: str, defines: tuple[tuple[str, int | float | str], ...], folder: Path) -> ctypes.CDLL:
    macros = [f"-D{name}={value}" for name, value in defines]
    files = cubins.source_files(source, folder)
    path = BUILD / f"{source}-{_digest(*macros, *files, *files.values())}.so"
    if not path.exists():
        includes = [f"-I{HERE}", f"-I{folder}", f"-I{cubins.FOLDER}", "-include", "cuda_on_cpu.h"]
        text = _compiler("-E", *_FLAGS, *macros, *includes, "-x", "c++", str(folder / f"{source}.cu"))
        kernels = _KERNEL.findall(text)
        text = _DYNAMIC.sub(r"static \2* const \3 = reinterpret_cast<\2*>(cuda_on_cpu::dynamic_memory);", text)
        text = _STATIC.sub("static __thread", text)  # runtime.cpp finds it there
        text = re.sub(r"\b__global__\b", "", text) + "".join(_LAUNCHER.format(name) for name in kernels)
        _build(path, "-shared", "-x", "c++-cpp-output", "-", "-x", "none", str(_runtime()), text=text)
    return ctypes.CDLL(str(path))


def _runtime() -> Path:
    path = BUILD / f"runtime-{_digest()}.o"
    if not path.exists():
        _build(path, "-O2", "-c", "-x", "c++", str(HERE / "runtime.cpp"))
    return path


@functools.cache
def _shim() -> str:
    """All that every build depends on: the shim's own text, the compiler and its flags."""
    texts = [path.read_text() for path in sorted(HERE.glob("*")) if path.suffix in (".h", ".cpp", ".py")]
    return "\0".join([_compiler("--version"), *_FLAGS, *texts])


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join([_shim(), *parts]).encode()).hexdigest()[:24]


def _build(path: Path, *args: str, text: str | None = None) -> None:
    """Compiles to a temporary name and renames, so that test processes may build the same file at once."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD) as temporary:
        made = Path(temporary) / path.name
        _compiler(*_FLAGS, *args, "-o", str(made), text=text)
        os.replace(made, path)


def _compiler(*args: str, text: str | None = None) -> str:
    if COMPILER is None:
        raise RuntimeError("no C++ compiler: install g++, or set CXX")
    done = subprocess.run([COMPILER, *args], input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"{COMPILER} {' '.join(args)} failed:\n{done.stderr}")
    return done.stdout
