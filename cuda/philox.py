"""Random numbers without state: Philox4x32-10 keyed by (seed, stream, step, index), equal on every device.

A resumed run needs only its seed and step to draw what the uninterrupted one draws.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from neural.cuda import checks, jit, library
from neural.cuda.native import lib, threads
from neural.cuda.reference import philox as reference


def uniform(
    n: int, words: int = 1, *, seed: int, stream: int, step: int = 0, device: torch.device | str = "cpu"
) -> Float[Tensor, "n words"]:
    """Draws uniform numbers in [0, 1), multiples of 2^-24.

    Args:
        n: How many indices, 0 .. n-1.
        words: Numbers per index, 1 to 4.
        seed: The run's seed, any 64-bit integer.
        stream: What the numbers are for, 0 to 2^32 - 1: each use has its own.
        step: The training step, 0 to 2^32 - 1.
        device: Where the result lies.

    Returns:
        Float32, a transposed view of a [words, n] buffer.

    Raises:
        ValueError: `words`, `n`, `stream` or `step` out of range.

    Source: Salmon et al. 2011, "Parallel Random Numbers: As Easy as 1, 2, 3".
    """
    if not 1 <= words <= 4 or n < 0:
        raise ValueError(f"uniform: words must be 1 to 4 and n at least 0, got words {words}, n {n}; draw more streams")
    check_key("uniform", stream, step)
    if torch.compiler.is_compiling():
        return torch.ops.neural.philox_uniform(n, words, signed(seed), stream, step, torch.device(device))
    return _uniform(n, words, signed(seed), stream, step, torch.device(device))


def check_key(op: str, stream: int, step: int) -> None:
    """Raises unless `stream` and `step` fit the 32 bits that the counter has for each."""
    if not (0 <= stream < 2**32 and 0 <= step < 2**32):
        raise ValueError(f"{op}: stream and step must be in [0, 2^32), got stream {stream}, step {step}")


def signed(seed: int) -> int:
    """The low 64 bits of `seed` as the signed integer that op schemas and kernel launches carry."""
    return (seed + 2**63) % 2**64 - 2**63


def _uniform(n: int, words: int, seed: int, stream: int, step: int, device: torch.device) -> Tensor:
    out = _empty(n, words, device)
    if n == 0:
        return out
    backend = checks.backend(out)
    if backend == "cpu":
        lib.philox_uniform(seed % 2**64, stream, step, n, words, out.data_ptr(), 1, n, threads())
    elif backend == "cuda":
        jit.launch("philox", "philox_uniform", {}, n, (seed, stream, step, n, words, out, 1, n))
    else:
        out.copy_(torch.from_numpy(reference.uniform(seed % 2**64, stream, step, n, words)))
    return out


def _empty(n: int, words: int, device: torch.device) -> Tensor:
    return torch.empty((words, n), dtype=torch.float32, device=device).t()


library.define(
    "philox_uniform",
    "(SymInt n, int words, int seed, int stream, int step, Device device) -> Tensor",
    implementation=_uniform,
    fake=lambda n, words, seed, stream, step, device: _empty(n, words, device),
)
