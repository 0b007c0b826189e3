"""Gaussians seen by a camera: centre, inverse covariance, opacity, depth and extent of each in the image."""

import math
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from neural.cuda import adam_in_backward, checks, jit, library
from neural.cuda.adam_in_backward import BackwardSteps, Steps
from neural.cuda.autograd import Function
from neural.cuda.native import lib, threads
from neural.cuda.reference import gaussian_projection as reference

Model = Literal["perspective", "orthographic", "opencv", "fisheye"]
MODELS = reference.MODELS
BLUR, PIXEL_BLUR = 0.3, 0.1  # square pixels: classic, antialiased
_PARAMETERS = ("means", "quats", "log_scales", "opacity_logits")
_BLOCK = 128  # threads of the CUDA kernels
_POSE_DTYPES = (torch.float32, torch.float64)


class Projected(NamedTuple):
    """N Gaussians in an image; the transposed views of feature-major buffers.

    Attributes:
        means2d: Centres in pixels; the first pixel's centre is (0.5, 0.5).
        conics: A, B, C of the inverse covariance: the exponent at an offset is -(A dx^2 + C dy^2) / 2 - B dx dy.
        opacities: At the centre; 0 where a Gaussian is not seen.
        depths: z in the camera's frame; for fisheye the distance from the camera.
        extents: Half width and height in pixels of the box in which alpha is at least 1/255; without gradient.
    """

    means2d: Float[Tensor, "N 2"]
    conics: Float[Tensor, "N 3"]
    opacities: Float[Tensor, "N"]
    depths: Float[Tensor, "N"]
    extents: Float[Tensor, "N 2"]


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
    blur: float | None = None,
    antialiased: bool = False,
    model: Model = "perspective",
    distortion: Float[Tensor, "8"] | None = None,
    fold: float = math.inf,
    in_backward: BackwardSteps | None = None,
) -> Projected:
    """Projects Gaussians to an image, each as a 2D Gaussian.

    For `perspective` and `orthographic` it is what a linear camera at the centre would see (the centre held within
    15 % of the image around it); behind the lenses `opencv` and `fisheye` the unscented transform gives its covariance.
    Not seen, with everything 0 and gradients of exactly 0, are Gaussians nearer than `near` or beyond `far`, fainter
    than 1/255, outside the image by their extent, without direction (a quaternion of length 0), not finite, or beyond
    what single precision follows (1e12 scene units or pixels, 1e-4 pixels).

    Args:
        means: Centres in scene units.
        quats: Rotations w x y z of any length from 1e-15 to 1e15.
        log_scales: Logarithms of the standard deviations along the rotated axes.
        opacity_logits: Opacities before the sigmoid.
        w2c: World to camera (x right, y down, z forward), rotation and translation; float32 or float64, on the means'
            device or the CPU.
        intrinsics: fx fy cx cy in pixels; for `orthographic` fx and fy are pixels per scene unit. As w2c
            in dtype and device.
        size: Width and height in pixels.
        near: Smallest depth that is seen, above 0 but for `orthographic`.
        far: Largest depth that is seen.
        blur: Variance in square pixels that is added to each 2D covariance; None: 0.3 as in 3DGS, and with
            `antialiased` 0.1 as in Mip-Splatting, which is about a pixel's own area and draws sharper.
        antialiased: Dim what the blur has widened (Mip-Splatting's 2D filter).
        model: The projection. Lenses are those of `neural.cameras`.
        distortion: Of the lens: k1 k2 p1 p2 k3 k4 k5 k6 (opencv) or k1 k2 k3 k4 0 0 0 0 (fisheye), as w2c; None for
            none. It has no gradient.
        fold: Undistorted radius (opencv) or angle (fisheye) from which on the lens sees nothing: `neural.lenses.fold`.
        in_backward: Steps of parameters that the backward pass makes, in place of giving their gradients; hand it to
            `gaussian_color` after this.

    Returns:
        `Projected`, differentiable once with respect to all tensors through all but the extents. The sums for w2c and
        intrinsics do not depend on the number of threads.

    Raises:
        TypeError, ValueError: A wrong dtype, shape, device, model or number, or `in_backward` of other tensors or
            inside torch.compile.
        RuntimeError: In the backward pass: steps of `in_backward` that have been made.

    Source: Zwicker et al. 2001, "EWA Volume Splatting", eq. 17-31; Kerbl et al. 2023, arXiv:2308.04079, eq. 5; the
        clamped Jacobian as in gsplat 1.5.3; Yu et al. 2024, "Mip-Splatting", arXiv:2311.16493, eq. 10; extents after
        Radl et al. 2024, arXiv:2402.00525, appendix B.2; lenses: Wu et al. 2025, "3DGUT", arXiv:2412.12507, eq. 6-10.
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
    if distortion is not None:
        checks.require("project", "distortion", distortion, (8,), w2c.dtype, w2c.device)
    if blur is None:
        blur = PIXEL_BLUR if antialiased else BLUR
    _check(width, height, near, far, blur, model)
    settings = (width, height, near, far, blur, antialiased, MODELS.index(model), fold)
    tensors = (means, quats, log_scales, opacity_logits, w2c, intrinsics, distortion)
    steps: Steps = {}
    if in_backward is not None:
        steps = in_backward.of(
            "project", means=means, quats=quats, log_scales=log_scales, opacity_logits=opacity_logits
        )
    if torch.compiler.is_compiling():
        return _split(torch.ops.neural.gaussian_projection(*tensors, *settings))
    if torch.is_grad_enabled() and any([t.requires_grad for t in tensors[:6]]):
        parts = _Projection.apply(*tensors, settings, steps)
        if in_backward is not None:
            in_backward.pass_on(means, parts[5])
        return Projected(*parts[:5])
    return _split(_forward(*tensors, *settings))


class _Projection(Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> tuple[Tensor, ...]:
        *tensors, settings, steps = inputs
        image = _forward(*tensors, *settings)
        ctx.save_for_backward(*tensors, image)
        ctx.settings, ctx.steps = settings, steps
        ctx.set_materialize_grads(False)
        parts = _split(image)
        ctx.mark_non_differentiable(parts.extents)
        return (*parts, tensors[0].detach()) if steps else tuple(parts)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        arguments: tuple[Any, ...] = (*grads[:4], *ctx.saved_tensors, *ctx.settings, any(ctx.needs_input_grad[4:6]))
        arguments += (ctx.steps, *grads[5:])
        return *_backward(*arguments), None, None, None


def _split(image: Float[Tensor, "9 N"]) -> Projected:
    n = image.shape[1]
    view, step = image.as_strided, max(n, 1)  # half the time of slices and transposes
    pairs = view((n, 2), (1, step)), view((n, 3), (1, step), 2 * n), view((n, 2), (1, step), 7 * n)
    return Projected(pairs[0], pairs[1], view((n,), (1,), 5 * n), view((n,), (1,), 6 * n), pairs[2])


def _forward(
    means: Tensor,
    quats: Tensor,
    log_scales: Tensor,
    opacity_logits: Tensor,
    w2c: Tensor,
    intrinsics: Tensor,
    distortion: Tensor | None,
    *settings: Any,
) -> Float[Tensor, "9 N"]:
    backend = checks.backend(means)
    if backend == "reference":
        return reference.forward(means, quats, log_scales, opacity_logits, w2c, intrinsics, distortion, *settings)
    n = means.shape[0]
    image = means.new_empty(9, n)
    if n == 0:
        return image
    parameters = [t.contiguous() for t in (means, quats, log_scales, opacity_logits)]
    camera = _camera(w2c, intrinsics, distortion, means)
    if backend == "cpu":
        lib.gaussian_projection_forward(
            *[t.data_ptr() for t in parameters], n, *map(checks.pointer, camera), *settings, image.data_ptr(), threads()
        )
    else:
        jit.launch(
            "gaussian_projection", "gaussian_projection_forward", {"MODEL": settings[6]}, n,
            (*parameters, n, *camera, *_scalars(*settings), image),
        )  # fmt: skip
    return image


def _backward(
    grad_means2d: Tensor | None,
    grad_conics: Tensor | None,
    grad_opacities: Tensor | None,
    grad_depths: Tensor | None,
    means: Tensor,
    quats: Tensor,
    log_scales: Tensor,
    opacity_logits: Tensor,
    w2c: Tensor,
    intrinsics: Tensor,
    distortion: Tensor | None,
    image: Tensor,
    width: int,
    height: int,
    near: float,
    far: float,
    blur: float,
    antialiased: bool,
    model: int,
    fold: float,
    camera_too: bool = True,
    steps: Steps | None = None,
    other_grad_means: Tensor | None = None,
) -> tuple[Tensor | None, ...]:
    settings = (width, height, near, far, blur, antialiased, model, fold)
    grads = (grad_means2d, grad_conics, grad_opacities, grad_depths)
    backend = checks.backend(means)
    if backend == "reference":
        inputs = (means, quats, log_scales, opacity_logits, w2c, intrinsics, distortion)
        return reference.backward(*inputs, settings, grads)
    n = means.shape[0]
    parameters = [t.contiguous() for t in (means, quats, log_scales, opacity_logits)]
    steps = steps or dict.fromkeys(_PARAMETERS)
    adam_in_backward.begin("project", steps)
    out = [None if steps[name] else torch.empty_like(t) for name, t in zip(_PARAMETERS, parameters, strict=True)]
    camera = _camera(w2c, intrinsics, distortion, means)
    strided: list[Any] = []
    for grad in (grad_means2d, grad_conics):
        strided += (None, 0, 0) if grad is None else checks.rows(grad)
    plain = [None if g is None else g.contiguous() for g in (grad_opacities, grad_depths)]
    other_grad_means = None if other_grad_means is None else other_grad_means.contiguous()
    sums = torch.zeros(16) if camera_too else None
    if backend == "cpu":
        lib.gaussian_projection_backward(
            *[t.data_ptr() for t in parameters], n, *map(checks.pointer, camera), *settings, image.data_ptr(),
            checks.pointer(strided[0]), *strided[1:3], checks.pointer(strided[3]), *strided[4:],
            *map(checks.pointer, plain), *map(checks.pointer, out), checks.pointer(sums), threads(),
        )  # fmt: skip
    elif n > 0:
        blocks = means.new_empty(-(-n // _BLOCK), 16) if camera_too else None
        penalties = [adam_in_backward.penalty(steps[name]) for name in ("log_scales", "opacity_logits")]
        jit.launch(
            "gaussian_projection", "gaussian_projection_backward", {"MODEL": model}, n,
            (*parameters, n, *camera, *_scalars(*settings), image, *strided, *plain, other_grad_means, *out,
             blocks, *penalties[0], *penalties[1], *adam_in_backward.arguments(steps)),
            block=_BLOCK,
        )  # fmt: skip
        adam_in_backward.finish(steps)
        sums = None if blocks is None else blocks.sum(dim=0, dtype=torch.float64).to(w2c.device, torch.float32)
    if sums is None:
        return *out, None, None
    sums = sums.to(w2c)
    grad_w2c = torch.zeros_like(w2c, memory_format=torch.contiguous_format)
    grad_w2c[:3, :3] = sums[:9].view(3, 3)
    grad_w2c[:3, 3] = sums[9:12]
    return *out, grad_w2c, sums[12:].clone()


def _camera(w2c: Tensor, intrinsics: Tensor, distortion: Tensor | None, means: Tensor) -> tuple[Tensor | None, ...]:
    """As kernels read them: fp32 where the means are."""
    if w2c.dtype is not torch.float32 or w2c.device != means.device:
        w2c, intrinsics = w2c.to(means), intrinsics.to(means)
        distortion = None if distortion is None else distortion.to(means)
    return w2c.contiguous(), intrinsics.contiguous(), None if distortion is None else distortion.contiguous()


def _scalars(
    width: int, height: int, near: float, far: float, blur: float, antialiased: bool, model: int, fold: float
) -> tuple[float, ...]:
    """The settings as CUDA kernels take them; the model is compiled in."""
    return float(width), float(height), float(near), float(far), float(blur), float(antialiased), float(fold)


def _check(width: int, height: int, near: float, far: float, blur: float, model: str) -> None:
    if width < 1 or height < 1 or max(width, height) > 1 << 20:
        raise ValueError(f"project: size must be 1 to 2^20 pixels, got {width}x{height}")
    if model not in MODELS:
        raise ValueError(f"project: model must be one of {', '.join(MODELS)}, got {model!r}")
    if not near < far or not (near > 0 or model == "orthographic"):
        raise ValueError(f"project: needs near < far, and near > 0 but for orthographic, got near {near}, far {far}")
    if not 0 <= blur < 1e6:
        raise ValueError(f"project: blur must be 0 or more square pixels, got {blur}")


def _fake(means: Tensor, *others: Any) -> Tensor:
    return means.new_empty(9, means.shape[0])


def _library_backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    parts = (grad[:2].t(), grad[2:5].t(), grad[5], grad[6])
    found = torch.ops.neural.gaussian_projection_backward(*parts, *ctx.saved_tensors, *ctx.settings)
    return *found, *library.constants(None, *ctx.settings)


def _library_save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:7], output)
    ctx.settings = inputs[7:]


_SETTINGS = "int width, int height, float near, float far, float blur, bool antialiased, int model, float fold"
_TENSORS = "Tensor means, Tensor quats, Tensor log_scales, Tensor opacity_logits, Tensor w2c, Tensor intrinsics,"
_TENSORS += " Tensor? distortion"
library.define(
    "gaussian_projection",
    f"({_TENSORS}, {_SETTINGS}) -> Tensor",
    implementation=_forward,
    fake=_fake,
    backward=_library_backward,
    save=_library_save,
)
library.define(
    "gaussian_projection_backward",
    "(Tensor? grad_means2d, Tensor? grad_conics, Tensor? grad_opacities, Tensor? grad_depths, "
    f"{_TENSORS}, Tensor image, {_SETTINGS}) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    implementation=_backward,
    fake=lambda *args: tuple(torch.empty_like(t, memory_format=torch.contiguous_format) for t in args[4:10]),
)
