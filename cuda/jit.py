"""CUDA kernels compiled where they run: NVRTC through cuda.core, to cubin, cached on disk.

`launch(source, kernel, defines, threads, args)` runs `kernel` of `<source>.cu`, specialised by `defines`.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor

from neural.errors import BackendUnavailable


def launch(
    source: str,
    kernel: str,
    defines: Mapping[str, int | str],
    threads: int | tuple[int, int, int],
    args: Sequence[Tensor | int | float | None],
    *,
    block: int | tuple[int, int, int] = 128,
    shared_bytes: int = 0,
) -> None:
    raise BackendUnavailable(f"{source}.{kernel}: no CUDA launcher in this build")
