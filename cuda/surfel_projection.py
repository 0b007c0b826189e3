"""Surfels (flat Gaussians) seen by a camera: the map from each one's plane to the image, and what it covers."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from neural.cuda import checks, jit, library
from neural.cuda.autograd import Function
from neural.cuda.native import lib, threads
from neural.cuda.reference import surfel_projection as reference

_POSE_DTYPES = (torch.float32, torch.float64)
_BLOCK = 128  # threads of the CUDA kernels
_COLUMNS = (2, 6, 1, 3, 1, 2, 3, 2)  # of the fields of `Surfels` in the buffer
_ROWS = reference.ROWS
_GRADIENT_ROWS = reference.GRADIENT_ROWS


class Surfels(NamedTuple):
    """N surfels in an image; views of feature-major buffers. Everything is 0 where one is not seen.

    The point at (u, v) standard deviations along a surfel's axes is seen at pixel mean + A (u, v) / (z + w . (u, v)).

    Attributes:
        means2d: Images of the centres in pixels; the first pixel's centre is (0.5, 0.5).
        axes: A row by row (2x2: x and y of u and v, pixels times depth), then w (depth).
        depths: z of the centres in the camera's frame.
        normals: Unit, in the camera's frame, towards the camera.
        opacities: At the centre.
        centres: Of the cover, a 2D Gaussian that is at least as opaque wherever alpha may reach 1/255; it goes to
            `gaussian_tiles.intersect` and `surfel_blend.blend`. It has no gradient.
        conics: A, B, C of the cover.
        extents: Half width and height of the cover's box; 0 where a surfel is not seen.
    """

    means2d: Float[Tensor, "N 2"]
    axes: Float[Tensor, "N 6"]
    depths: Float[Tensor, "N"]
    normals: Float[Tensor, "N 3"]
    opacities: Float[Tensor, "N"]
    centres: Float[Tensor, "N 2"]
    conics: Float[Tensor, "N 3"]
    extents: Float[Tensor, "N 2"]

    def matrices(self) -> Float[Tensor, "N 3 3"]:
        """The maps M of Huang et al.: M (u, v, 1) = depth (x, y, 1)."""
        zeros = torch.zeros_like(self.means2d)
        columns = torch.cat([self.axes.unflatten(1, (3, 2)), torch.cat([zeros, self.depths[:, None]], 1)[..., None]], 2)
        shift = torch.cat([self.means2d, torch.zeros_like(self.depths)[:, None]], 1)[..., None]
        return columns + shift * columns[:, 2:]


def project(
    means: Float[Tensor, "N 3"],
    quats: Float[Tensor, "N 4"],
    log_scales: Float[Tensor, "N 3"],
    opacity_logits: Float[Tensor, "N"],
    w2c: Float[Tensor, "4 4"],
    intrinsics: Float[Tensor, "4"],
    size: tuple[int, int],
    *,
    near: float = 0.01,
    far: float = float("inf"),
) -> Surfels:
    """Projects surfels to the image of a pinhole camera.

    A surfel is a Gaussian that is flat along its third axis: Gaussians' parameters serve, the third scale is not read.
    Not seen, with gradients of exactly 0, are surfels whose centre is nearer than `near` or beyond `far`, those
    fainter than 1/255, outside the image with all that they may cover, without direction (a quaternion of length 0),
    not finite, or beyond what single precision follows.

    Args:
        means: Centres in scene units.
        quats: Rotations w x y z of any length from 1e-15 to 1e15; the third axis is the normal.
        log_scales: Logarithms of the standard deviations along the rotated axes.
        opacity_logits: Opacities before the sigmoid.
        w2c: World to camera (x right, y down, z forward); float32 or float64, on the means' device or the CPU.
        intrinsics: fx fy cx cy in pixels; as w2c in dtype and device.
        size: Width and height in pixels.
        near: Smallest depth of a centre that is seen, above 0.
        far: Largest depth that is seen.

    Returns:
        `Surfels`, differentiable once with respect to all tensors through all but the cover.

    Raises:
        TypeError, ValueError: A wrong dtype, shape, device or number.

    Source: Huang et al. 2024, arXiv:2403.17888, eq. 4-9, with the map taken about the image of the centre; the box of
        the cover after Sigg et al. 2006, "GPU-Based Ray-Casting of Quadratic Surfaces"; the cover's ellipse: ours.
    """
    checks.require("project", "means", means, ("N", 3))
    n, device = means.shape[0], means.device
    checks.require("project", "quats", quats, (n, 4), device=device)
    checks.require_like("project", "log_scales", log_scales, means)
    checks.require("project", "opacity_logits", opacity_logits, (n,), device=device)
    pose_device = None if isinstance(w2c, Tensor) and w2c.is_cpu else device
    checks.require("project", "w2c", w2c, (4, 4), _POSE_DTYPES, pose_device)
    checks.require("project", "intrinsics", intrinsics, (4,), w2c.dtype, w2c.device)
    width, height = size
    if width < 1 or height < 1 or max(width, height) > 1 << 20:
        raise ValueError(f"project: size must be 1 to 2^20 pixels, got {width}x{height}")
    if not 0 < near < far:
        raise ValueError(f"project: needs 0 < near < far, got near {near}, far {far}")
    tensors, settings = (means, quats, log_scales, opacity_logits, w2c, intrinsics), (width, height, near, far)
    if torch.compiler.is_compiling():
        return _split(torch.ops.neural.surfel_projection(*tensors, *settings))
    if torch.is_grad_enabled() and any([t.requires_grad for t in tensors]):
        return Surfels(*_Projection.apply(*tensors, settings))
    return _split(_forward(*tensors, *settings))


class _Projection(Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, ...]:
        *tensors, settings = inputs
        image = _forward(*tensors, *settings)
        ctx.save_for_backward(*tensors, image)
        ctx.settings = settings
        ctx.set_materialize_grads(False)
        parts = _split(image)
        ctx.mark_non_differentiable(*parts[5:])
        return tuple(parts)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        image = ctx.saved_tensors[-1]
        grad = image.new_zeros(_GRADIENT_ROWS, image.shape[1])
        for rows, given in zip(grad.split(_COLUMNS[:5]), grads[:5], strict=True):
            if given is not None:
                rows.copy_(given.t())  # of a vector, the vector
        arguments: tuple[Any, ...] = (grad, *ctx.saved_tensors, *ctx.settings, any(ctx.needs_input_grad[4:6]))
        return *_backward(*arguments), None


def _split(image: Tensor) -> Surfels:
    means2d, axes, depths, normals, opacities, *cover = image.t().split(_COLUMNS, 1)
    return Surfels(means2d, axes, depths.squeeze(1), normals, opacities.squeeze(1), *cover)


def _forward(
    means: Tensor, quats: Tensor, log_scales: Tensor, opacity_logits: Tensor, w2c: Tensor, intrinsics: Tensor,
    width: int, height: int, near: float, far: float,
) -> Tensor:  # fmt: skip
    """The buffer [20, N]."""
    backend = checks.backend(means)
    if backend == "reference":
        inputs = (means, quats, log_scales, opacity_logits, w2c, intrinsics)
        return reference.forward(*inputs, width, height, near, far)
    n = means.shape[0]
    parameters = [t.contiguous() for t in (means, quats, log_scales, opacity_logits)]
    camera = _camera(w2c, intrinsics, means)
    image = means.new_empty(_ROWS, n)
    if backend == "cpu":
        lib.surfel_projection_forward(
            *(t.data_ptr() for t in parameters), n, *(t.data_ptr() for t in camera), width, height, near, far,
            image.data_ptr(), threads(),
        )  # fmt: skip
    else:
        jit.launch(
            "surfel_projection", "surfel_projection_forward", {}, n,
            (*parameters, n, *camera, float(width), float(height), float(near), float(far), image), block=_BLOCK,
        )  # fmt: skip
    return image


def _backward(
    grad: Tensor, means: Tensor, quats: Tensor, log_scales: Tensor, opacity_logits: Tensor, w2c: Tensor,
    intrinsics: Tensor, image: Tensor, width: int, height: int, near: float, far: float, camera_too: bool = True,
) -> tuple[Tensor | None, ...]:  # fmt: skip
    """Gradients to the first six tensors from those of the first 13 rows of the buffer."""
    backend = checks.backend(means)
    if backend == "reference":
        inputs = (means, quats, log_scales, opacity_logits, w2c, intrinsics)
        return reference.backward(grad, inputs, (width, height, near, far))
    n = means.shape[0]
    parameters = [t.contiguous() for t in (means, quats, log_scales, opacity_logits)]
    camera = _camera(w2c, intrinsics, means)
    grad, out = grad.contiguous(), [torch.empty_like(t) for t in parameters]
    sums = torch.zeros(16) if camera_too else None
    if backend == "cpu":
        lib.surfel_projection_backward(
            *(t.data_ptr() for t in parameters), n, *(t.data_ptr() for t in camera), image.data_ptr(),
            grad.data_ptr(), *(t.data_ptr() for t in out), checks.pointer(sums), threads(),
        )  # fmt: skip
    elif n > 0:
        blocks = means.new_empty(-(-n // _BLOCK), 16) if camera_too else None
        jit.launch(
            "surfel_projection", "surfel_projection_backward", {}, n,
            (*parameters, n, *camera, image, grad, *out, blocks), block=_BLOCK,
        )  # fmt: skip
        sums = None if blocks is None else blocks.sum(dim=0, dtype=torch.float64).to(w2c.device, torch.float32)
    if sums is None:
        return *out, None, None
    sums = sums.to(w2c)
    grad_w2c = torch.zeros_like(w2c, memory_format=torch.contiguous_format)
    grad_w2c[:3, :3] = sums[:9].view(3, 3)
    grad_w2c[:3, 3] = sums[9:12]
    return *out, grad_w2c, sums[12:].clone()


def _camera(w2c: Tensor, intrinsics: Tensor, means: Tensor) -> tuple[Tensor, Tensor]:
    """As kernels read them: fp32 where the means are."""
    if w2c.dtype is not torch.float32 or w2c.device != means.device:
        w2c, intrinsics = w2c.to(means), intrinsics.to(means)
    return w2c.contiguous(), intrinsics.contiguous()


def _library_save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:6], output)
    ctx.settings = inputs[6:]


def _library_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    found = torch.ops.neural.surfel_projection_backward(grad[:_GRADIENT_ROWS], *ctx.saved_tensors, *ctx.settings)
    return *found, *library.constants(*ctx.settings)


_TENSORS = "Tensor means, Tensor quats, Tensor log_scales, Tensor opacity_logits, Tensor w2c, Tensor intrinsics"
_SETTINGS = "int width, int height, float near, float far"
library.define(
    "surfel_projection",
    f"({_TENSORS}, {_SETTINGS}) -> Tensor",
    implementation=_forward,
    fake=lambda means, *others: means.new_empty(_ROWS, means.shape[0]),
    backward=_library_backward,
    save=_library_save,
)
library.define(
    "surfel_projection_backward",
    f"(Tensor grad, {_TENSORS}, Tensor image, {_SETTINGS}) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    implementation=_backward,
    fake=lambda *args: tuple(torch.empty_like(t, memory_format=torch.contiguous_format) for t in args[1:7]),
)
