"""`<source>.cu` to cubin by NVRTC: no CUDA toolkit, no driver and no GPU needed; results are kept on disk.

The text that a kernel is made of (its `.cu` and every `.cuh` that this can include) travels in the wheel. The key
of a cubin holds all of it, the defines, the options, NVRTC's version and the architecture.
"""

import functools
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from neural.cuda.disk_cache import DiskCache, cache_root
from neural.errors import BackendUnavailable

FOLDER = Path(__file__).resolve().parent
_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(["<])([^">]+)[">]', re.MULTILINE)


def compile(source: str, defines: Mapping[str, int | float | str], arch: str, *, folder: Path = FOLDER) -> bytes:
    """The cubin of every kernel in `<source>.cu` under these defines.

    Args:
        source: Stem of a `.cu` file in `folder`.
        defines: Macros, upper-case; what the kernels are specialised on.
        arch: As in `sm_90`; see `architecture_for`.
        folder: Where sources and headers lie.

    Raises:
        BackendUnavailable: NVRTC is not installed.
        ValueError: The source does not compile; holds NVRTC's log, with file and line.
    """
    files = source_files(source, folder)
    options = [
        "--std=c++17",
        "--device-as-default-execution-space",  # constexpr functions carry no mark
        f"--gpu-architecture={arch}",
        *(f"--define-macro={name}={value}" for name, value in sorted(defines.items())),
    ]
    key = _key(files, options)
    cache = DiskCache(cache_root() / "cubin")
    cubin = cache.get(key)
    if cubin is None:
        includes = [f"--include-path={path}" for path in dict.fromkeys((folder, FOLDER))]
        cubin = _compile(str(folder / f"{source}.cu"), files[f"{source}.cu"], options + includes)
        cache.put(key, cubin)
    return cubin


def source_files(source: str, folder: Path = FOLDER) -> dict[str, str]:
    """Path in the folder -> text, of `<source>.cu` and all that it can include, whatever the defines.

    Raises:
        ValueError: An include that is no file of ours: kernels use no CUDA and no standard header.
    """
    folder = folder.resolve()
    files: dict[str, str] = {}
    pending = [folder / f"{source}.cu"]
    while pending:
        path = pending.pop()
        name = path.relative_to(folder if path.is_relative_to(folder) else FOLDER).as_posix()
        if name in files:
            continue
        files[name] = path.read_text(encoding="utf-8")
        for bracket, included in _INCLUDE.findall(files[name]):
            if bracket == "<" and path.suffix == ".h":
                continue  # a CPU header behind a guard
            places = (path.parent / included, folder / included, FOLDER / included)
            found = next((place.resolve() for place in places if place.is_file()), None)
            if bracket == "<" or found is None:
                raise ValueError(
                    f"{path}: kernels include only files of {FOLDER.name}/, in quotes, and {included} is none; "
                    "move what only the CPU needs to a .h or .cpp"
                )
            pending.append(found)
    return files


def architecture_for(capability: tuple[int, int]) -> str:
    """The `sm_` name to compile for: the device's own, else the newest that NVRTC knows and the device can run.

    A cubin runs on devices of the same major version and the same or a higher minor version.

    Raises:
        BackendUnavailable: The device's family is unknown to the NVRTC that is installed.
    """
    major, minor = capability
    known = supported_architectures()
    runnable = [arch for arch in known if arch // 10 == major and arch % 10 <= minor]
    if not runnable:
        remedy = (
            "`pip install -U nvidia-cuda-nvrtc` brings a newer one"
            if major * 10 + minor > max(known)
            else "neural needs compute capability 7.5 or higher"
        )
        raise BackendUnavailable(
            f"this GPU has compute capability {major}.{minor}, which NVRTC {version()} does not compile for "
            f"(it knows {', '.join(f'sm_{a}' for a in known)}); {remedy}"
        )
    return f"sm_{max(runnable)}"


@functools.cache
def supported_architectures() -> tuple[int, ...]:
    """What NVRTC compiles for, as 75 for sm_75."""
    nvrtc = _nvrtc()
    return tuple(sorted(_checked(nvrtc, nvrtc.nvrtcGetSupportedArchs())))


@functools.cache
def version() -> str:
    """NVRTC's version, as in `13.2`."""
    nvrtc = _nvrtc()
    _, major, minor = nvrtc.nvrtcVersion()
    return f"{major}.{minor}"


def _compile(name: str, text: str, options: list[str]) -> bytes:
    nvrtc = _nvrtc()
    program = _checked(nvrtc, nvrtc.nvrtcCreateProgram(text.encode(), name.encode(), 0, [], []))
    try:
        (status,) = nvrtc.nvrtcCompileProgram(program, len(options), [option.encode() for option in options])
        if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
            log = bytearray(_checked(nvrtc, nvrtc.nvrtcGetProgramLogSize(program)))
            _checked(nvrtc, (*nvrtc.nvrtcGetProgramLog(program, log), None))
            text = log.rstrip(b"\0").decode(errors="replace")
            command = f"NVRTC {version()} {' '.join(options)}"
            raise ValueError(f"{name} does not compile ({command}: {status.name}):\n{text}")
        cubin = bytearray(_checked(nvrtc, nvrtc.nvrtcGetCUBINSize(program)))
        _checked(nvrtc, (*nvrtc.nvrtcGetCUBIN(program, cubin), None))
        return bytes(cubin)
    finally:
        nvrtc.nvrtcDestroyProgram(program)


def _key(files: Mapping[str, str], options: list[str]) -> str:
    digest = hashlib.sha256()
    for part in (version(), *options, *(text for item in sorted(files.items()) for text in item)):
        digest.update(f"{len(part)}:{part}".encode())
    return digest.hexdigest()


@functools.cache
def _nvrtc() -> ModuleType:
    try:
        from cuda.bindings import nvrtc

        nvrtc.nvrtcVersion()  # finds the shared library, or not
    except (ImportError, RuntimeError) as error:  # RuntimeError: cuda-pathfinder's, and old bindings'
        raise BackendUnavailable(
            f'CUDA kernels need NVRTC, which cannot be loaded ({error}); `pip install "neural[cuda]"` brings it'
        ) from error
    return nvrtc


def _checked(nvrtc: ModuleType, result: tuple[Any, ...]) -> Any:
    """The value of an NVRTC call that can fail only by a defect or for want of memory."""
    status, value = result
    if status != nvrtc.nvrtcResult.NVRTC_SUCCESS:
        raise RuntimeError(f"NVRTC {status.name}")
    return value
