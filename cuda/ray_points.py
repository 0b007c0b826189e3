"""Positions and directions of packed samples, with gradients to the rays (camera poses are refined through them)."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from neural.cuda import checks, jit, library
from neural.cuda.autograd import Function
from neural.cuda.native import lib, threads
from neural.cuda.ray_march import Samples
from neural.cuda.reference import ray_points as reference


def ray_points(
    origins: Float[Tensor, "R 3"], directions: Float[Tensor, "R 3"], samples: Samples
) -> tuple[Float[Tensor, "S 3"], Float[Tensor, "S 3"]]:
    """Places samples in space: x = o + (t_start + t_end) / 2 d.

    Args:
        origins: The rays that were marched, world units, float32.
        directions: Their unit vectors.
        samples: What `ray_march` gave for them.

    Returns:
        Positions and directions of the samples, transposed views of [3, S] buffers. Differentiable once in `origins`
        and `directions`, not in the samples' depths.

    Raises:
        TypeError, ValueError: A wrong dtype, shape or device.
    """
    n = samples.packed_info.shape[0]
    checks.require("ray_points", "origins", origins, (n, 3), device=samples.t_starts.device)
    checks.require("ray_points", "directions", directions, (n, 3), device=origins.device)
    tensors = (samples.t_starts, samples.t_ends, samples.ray_indices, samples.packed_info)
    if torch.compiler.is_compiling():
        return torch.ops.neural.ray_points(origins, directions, *tensors)
    return _RayPoints.apply(origins, directions, *tensors)


class _RayPoints(Function):
    @staticmethod
    def forward(ctx: Any, origins: Tensor, directions: Tensor, *samples: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(*samples)
        ctx.set_materialize_grads(False)
        return _forward(origins, directions, *samples)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_positions: Tensor | None, grad_directions: Tensor | None) -> tuple[Tensor | None, ...]:
        return *_backward(grad_positions, grad_directions, *ctx.saved_tensors), None, None, None, None


def _forward(
    origins: Tensor, directions: Tensor, t_starts: Tensor, t_ends: Tensor, ray_indices: Tensor, packed_info: Tensor
) -> tuple[Tensor, Tensor]:
    n, n_rays = t_starts.shape[0], packed_info.shape[0]
    backend = checks.backend(origins)
    if backend == "reference":
        return reference.forward(origins, directions, t_starts, t_ends, ray_indices)
    positions, along = checks.empty_features(n, 3, origins), checks.empty_features(n, 3, origins)
    if n == 0:
        return positions, along
    o, on, ok = checks.rows(origins)
    d, dn, dk = checks.rows(directions)
    if backend == "cpu":
        lib.ray_points_forward(
            o.data_ptr(), on, ok, d.data_ptr(), dn, dk, t_starts.data_ptr(), t_ends.data_ptr(),
            packed_info.data_ptr(), n_rays, n, positions.data_ptr(), along.data_ptr(), threads(),
        )  # fmt: skip
    else:
        jit.launch(
            "ray_points", "ray_points_forward", {}, n,
            (o, on, ok, d, dn, dk, t_starts, t_ends, ray_indices, n, positions, along),
        )  # fmt: skip
    return positions, along


def _backward(
    grad_positions: Tensor | None,
    grad_sample_directions: Tensor | None,
    t_starts: Tensor,
    t_ends: Tensor,
    ray_indices: Tensor,
    packed_info: Tensor,
) -> tuple[Tensor, Tensor]:
    n_rays = packed_info.shape[0]
    backend = checks.backend(t_starts)
    if backend == "reference":
        zero = t_starts.new_zeros(t_starts.shape[0], 3)
        upstream = [zero if g is None else g for g in (grad_positions, grad_sample_directions)]
        return reference.backward(upstream[0], upstream[1], t_starts, t_ends, ray_indices, n_rays)
    grad_origins, grad_directions = _empty_rays(packed_info), _empty_rays(packed_info)
    if n_rays == 0:
        return grad_origins, grad_directions
    gp, gpn, gpk = _rows(grad_positions)
    gd, gdn, gdk = _rows(grad_sample_directions)
    if backend == "cpu":
        lib.ray_points_backward(
            0 if gp is None else gp.data_ptr(), gpn, gpk, 0 if gd is None else gd.data_ptr(), gdn, gdk,
            t_starts.data_ptr(), t_ends.data_ptr(), packed_info.data_ptr(), n_rays,
            grad_origins.data_ptr(), grad_directions.data_ptr(), threads(),
        )  # fmt: skip
    else:
        jit.launch(
            "ray_points", "ray_points_backward", {}, 32 * n_rays,
            (gp, gpn, gpk, gd, gdn, gdk, t_starts, t_ends, packed_info, n_rays, grad_origins, grad_directions),
        )  # fmt: skip
    return grad_origins, grad_directions


def _rows(matrix: Tensor | None) -> tuple[Tensor | None, int, int]:
    return (None, 0, 0) if matrix is None else checks.rows(matrix)


def _empty_rays(packed_info: Tensor) -> Tensor:
    return torch.empty((packed_info.shape[0], 3), dtype=torch.float32, device=packed_info.device)


_SAMPLES = "Tensor t_starts, Tensor t_ends, Tensor ray_indices, Tensor packed_info"
library.define(
    "ray_points",
    f"(Tensor origins, Tensor directions, {_SAMPLES}) -> (Tensor, Tensor)",
    implementation=_forward,
    fake=lambda o, d, t, *_: (checks.empty_features(t.shape[0], 3, o), checks.empty_features(t.shape[0], 3, o)),
    backward=lambda ctx, *grads: (
        *torch.ops.neural.ray_points_backward(*grads, *ctx.saved_tensors), None, None, None, None,
    ),
    save=lambda ctx, inputs, output: ctx.save_for_backward(*inputs[2:]),
)  # fmt: skip
library.define(
    "ray_points_backward",
    f"(Tensor? grad_positions, Tensor? grad_sample_directions, {_SAMPLES}) -> (Tensor, Tensor)",
    implementation=_backward,
    fake=lambda gp, gd, t0, t1, r, packed_info: (_empty_rays(packed_info), _empty_rays(packed_info)),
)
