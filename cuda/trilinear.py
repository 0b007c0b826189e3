"""Trilinear interpolation in a voxel grid, which may be the map of a file larger than memory."""

import math

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from neural.cuda import checks, jit, library
from neural.cuda.native import lib, threads
from neural.cuda.reference import trilinear as reference

DTYPES = (torch.float32, torch.float64, torch.float16, torch.uint8, torch.uint16)  # as the kernels number them
MAX_CHANNELS = 4


def trilinear(
    positions: Float[Tensor, "N 3"], voxels: Shaped[Tensor, "X Y Z C"], *, scale: float
) -> Float[Tensor, "N C"]:
    """Interpolates between the centres of voxels: voxel (i, j, k) covers [i, i + 1] x ... / scale.

    Nothing of `voxels` is copied, so it may be the map of a file; only what the positions need is read. Positions
    beyond the outermost centres get the value there, NaN counts as the lower end. Voxels are data: nothing is
    differentiated.

    Args:
        positions: In the unit in which a voxel's edge is 1 / scale.
        voxels: float32, float64, float16, or uint8 and uint16, which stand for [0, 1]; 1 to 4 channels, contiguous.
        scale: Voxels per unit of length, positive.

    Returns:
        Float32, a transposed view of a [C, N] buffer.

    Raises:
        TypeError, ValueError: A wrong dtype, shape, device or scale, or voxels that are not contiguous.
    """
    checks.require("trilinear", "positions", positions, ("N", 3))
    checks.require("trilinear", "voxels", voxels, ("X", "Y", "Z", "C"), DTYPES, positions.device)
    if not voxels.is_contiguous():
        raise ValueError("trilinear: voxels must be contiguous; call .contiguous(), which copies them")
    if 0 in voxels.shape or voxels.shape[3] > MAX_CHANNELS:
        raise ValueError(
            f"trilinear: voxels must be [X, Y, Z, C] with X, Y, Z at least 1 and C 1 to {MAX_CHANNELS}, got "
            f"{list(voxels.shape)}"
        )
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"trilinear: scale must be positive and finite, got {scale}")
    if torch.compiler.is_compiling():
        return torch.ops.neural.trilinear(positions, voxels, scale)
    return _forward(positions, voxels, float(scale))


def _forward(positions: Tensor, voxels: Tensor, scale: float) -> Tensor:
    n = positions.shape[0]
    nx, ny, nz, channels = voxels.shape
    backend = checks.backend(positions)
    if backend == "reference":
        return reference.forward(positions.detach(), voxels, scale)
    out = checks.empty_features(n, channels, positions)
    if n == 0:
        return out
    points, sn, sk = checks.rows(positions)
    kind = DTYPES.index(voxels.dtype)
    if backend == "cpu":
        lib.trilinear_forward(
            points.data_ptr(), sn, sk, n, voxels.data_ptr(), kind, nx, ny, nz, channels, scale, out.data_ptr(),
            threads(),
        )  # fmt: skip
    else:
        jit.launch(
            "trilinear", "trilinear_forward", {"CHANNELS": channels, "DTYPE": kind}, n,
            (points, sn, sk, n, voxels, nx, ny, nz, scale, out),
        )  # fmt: skip
    return out


library.define(
    "trilinear",
    "(Tensor positions, Tensor voxels, float scale) -> Tensor",
    implementation=_forward,
    fake=lambda positions, voxels, scale: checks.empty_features(positions.shape[0], voxels.shape[3], positions),
)
