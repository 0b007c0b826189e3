"""A radiance field rendered in one pass: rays marched, looked up, shaded and composited block by block.

What a sample needs stays in blocks of a thread's own; only results per ray leave them. The backward pass marches and
evaluates again what could be seen, so nothing per sample is kept for it either.
"""

import functools
import math
from array import array
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neural.cuda import checks, jit
from neural.cuda.autograd import Function
from neural.cuda.native import lib, threads
from neural.cuda.ray_march import Prepared
from neural.cuda.stages import Operand, Program, Table, bound, cuda_source, network_bytes

GROUP = 1024  # rays that a thread takes at a time, at most: their samples share what is read of a level of the table
PART, N_PARTS = 256, 64  # samples of a part of the backward pass, and parts of a round; fixed, so that sums are
GROUP_SAMPLES, N_GROUPS = 8192, 8  # of a training step: samples in the grid that a thread takes, and groups of a round
KINDS = ("square", "huber")  # position = code
CUDA_BLOCK = 128  # threads, kThreads of fused.cu
RAYS_PER_THREAD = 4  # of a GPU: a thread whose ray has ended takes its next one


class Fused(NamedTuple):
    """What `fused` gives.

    Attributes:
        rgb: Sum of weight times colour, without background.
        alpha: Sum of the weights, 0 to 1.
        depth: Sum of weight times distance, not divided by alpha.
        counts: Samples that were looked up, and those of them in front of the early stop.
        n_broken: Rays that met a density that is NaN.
    """

    rgb: Float[Tensor, "R 3"]
    alpha: Float[Tensor, "R"]
    depth: Float[Tensor, "R"]
    counts: Int[Tensor, "R 2"]
    n_broken: int


def fused(
    marched: Prepared,
    program: Program,
    operands: tuple[Operand, ...],
    *,
    early_stop: float,
    spans: Float[Tensor, "2 R"] | None = None,
    n_rays: int | None = None,
) -> Fused:
    """Renders rays through a field.

    Args:
        marched: Rays and occupancy, as `ray_march.prepare` checked them; on a GPU without gradients.
        program: The field's stages.
        operands: Their tensors, in order.
        early_stop: A ray ends where less than this share of the light gets through.
        spans: Where the samples of each ray lie, as `ray_march.count` gave it: skips the way to the first one.
        n_rays: Rays from this one on are left out: all zero. None renders all.

    Returns:
        A `Fused`; rgb, alpha and depth are differentiable once with respect to the operands' parameters, not to rays.

    Raises:
        TypeError, ValueError: An operand of a wrong dtype, shape or device.
    """
    for operand in operands:
        _check(operand, marched.origins.device)
    run = _Run(marched, spans, marched.origins.shape[0] if n_rays is None else n_rays, program, operands, early_stop)
    parameters = [operand.parameter for operand in operands]
    if torch.is_grad_enabled() and any(p.requires_grad for p in parameters):
        if checks.backend(marched.origins) != "cpu":
            raise NotImplementedError("fused: gradients are had on the CPU alone; call it under torch.no_grad()")
        return Fused(*_Fused.apply(run, *parameters))
    return Fused(*_forward(run))


@dataclass(frozen=True)
class PixelLoss:
    """A loss on the colour of rays: the sum over rays and channels of `scale` times `kind` of the error.

    Attributes:
        kind: `square`: d^2. `huber`: d^2 / 2, beyond `delta` delta (|d| - delta / 2).
        scale: Factor; 1 over the number of values gives the mean.
        delta: Where Huber's square ends.
    """

    kind: Literal["square", "huber"]
    scale: float
    delta: float = math.inf


@torch.no_grad()
def fused_step(
    marched: Prepared,
    program: Program,
    operands: tuple[Operand, ...],
    *,
    early_stop: float,
    packed_info: Int[Tensor, "R 2"],
    spans: Float[Tensor, "2 R"],
    loss: PixelLoss,
    target: Float[Tensor, "R 3"],
    background: Float[Tensor, "R 3"],
    weights: Float[Tensor, " R"] | None = None,
) -> Fused:
    """Renders rays, compares them and follows the loss back, in one pass: no sample is marched or looked up twice.

    Adds the gradient of the loss of rgb + (1 - alpha) background against the target into the operands' buffers.

    Args:
        marched: As for `fused`.
        program: The field's stages.
        operands: Their tensors; all with `accumulate`.
        early_stop: A ray ends where less than this share of the light gets through.
        packed_info: As `ray_march.count` gave it for these rays; rays that it cuts are left out.
        spans: As `ray_march.count` gave it.
        loss: What is followed.
        target: Colours.
        background: Behind the field.
        weights: Factor of each ray's loss; None: 1.

    Raises:
        TypeError, ValueError: An argument of a wrong dtype, shape or device, or an operand without a buffer.
    """
    n, like = marched.origins.shape[0], marched.origins
    if checks.backend(like) != "cpu":
        raise NotImplementedError("fused_step: gradients are had on the CPU alone")
    for operand in operands:
        _check(operand, like.device)
        if operand.accumulate is None:
            raise ValueError("fused_step: every operand needs a buffer for its gradient; set `accumulate`")
    checks.require("fused_step", "target", target, (n, 3), device=like.device)
    checks.require("fused_step", "background", background, (n, 3), device=like.device)
    if weights is not None:
        checks.require("fused_step", "weights", weights, (n,), device=like.device)
    run = _Run(marched, spans, n, program, operands, early_stop)
    rgb, alpha, depth = like.new_zeros(n, 3), like.new_zeros(n), like.new_zeros(n)
    counts = like.new_empty((n, 2), dtype=torch.int64)
    broken = array("q", (0,))
    words = array("q", bound(program, operands, _into(operands)))
    rays = _rays(run)
    given = [target.contiguous(), background.contiguous(), None if weights is None else weights.contiguous()]
    lib.fused_step(
        *_addresses(run, rays), words.buffer_info()[0], *program.code, early_stop, packed_info.data_ptr(),
        KINDS.index(loss.kind), loss.delta, loss.scale, *[checks.pointer(t) for t in given], GROUP_SAMPLES, N_GROUPS,
        PART, rgb.data_ptr(), alpha.data_ptr(), depth.data_ptr(), counts.data_ptr(), broken.buffer_info()[0], threads(),
    )  # fmt: skip
    return Fused(rgb, alpha, depth, counts, broken[0])


def _into(operands: tuple[Operand, ...]) -> tuple[tuple[int, int], ...]:
    """Addresses of the operands' buffers; a network's counts as touched whole."""
    addresses = []
    for operand in operands:
        buffer = operand.accumulate
        assert buffer is not None
        if not isinstance(operand, Table):
            buffer.touched.fill_(-1)
        addresses.append((buffer.grad.data_ptr(), buffer.touched.data_ptr()))
    return tuple(addresses)


class _Run(NamedTuple):
    """All that both passes need."""

    marched: Prepared
    spans: Tensor | None
    n_rays: int
    program: Program
    operands: tuple[Operand, ...]
    early_stop: float


class _Fused(Function):
    @staticmethod
    def forward(ctx: Any, run: _Run, *parameters: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, int]:
        result = _forward(run)
        # what the backward pass reads again must be what it was
        ctx.save_for_backward(run.marched.bitfield, result[3], *[o.source for o in run.operands if type(o) is Table],
                              *parameters)  # fmt: skip
        ctx.run = run
        ctx.mark_non_differentiable(result[3])
        ctx.set_materialize_grads(False)
        return result

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *upstream: Tensor | None) -> tuple[Tensor | None, ...]:
        counts = ctx.saved_tensors[1]
        return None, *_backward(ctx.run, counts, upstream[:3], ctx.needs_input_grad[1:])


def _forward(run: _Run) -> tuple[Tensor, Tensor, Tensor, Tensor, int]:
    n, like = run.marched.origins.shape[0], run.marched.origins
    make = like.new_empty if run.n_rays == n else like.new_zeros
    rgb, alpha, depth = make((n, 3)), make((n,)), make((n,))
    counts = make((n, 2), dtype=torch.int64)
    if checks.backend(like) == "cuda":
        return rgb, alpha, depth, counts, _launch(run, rgb, alpha, depth, counts)
    broken = array("q", (0,))
    words = array("q", bound(run.program, run.operands, None))
    rays = _rays(run)
    group = min(GROUP, max(64, run.n_rays // (4 * threads())))  # no ray's result depends on it
    lib.fused_forward(
        *_addresses(run, rays), words.buffer_info()[0], *run.program.code, run.early_stop, group, rgb.data_ptr(),
        alpha.data_ptr(), depth.data_ptr(), counts.data_ptr(), broken.buffer_info()[0], threads(),
    )  # fmt: skip
    return rgb, alpha, depth, counts, broken[0]


def _launch(run: _Run, *outputs: Tensor) -> int:
    """Runs the CUDA kernel; how many rays met a NaN."""
    m, shared = run.marched, network_bytes(run.program)
    table, *networks = run.operands
    assert isinstance(table, Table)
    device, weights = m.origins.device, table.level_weights
    broken = torch.zeros(1, dtype=torch.int64, device=device)
    defines = _defines(run.program) | {"CONE": int(m.cone)}
    threads_ = -(-run.n_rays // RAYS_PER_THREAD)
    jit.launch(
        "fused", "fused_forward", defines, threads_,
        (*_rays(run), run.n_rays, m.settings, m.bitfield.shape[0], m.resolution, m.bitfield, run.spans, table.source,
         table.levels.to(device), None if weights is None else weights.to(device),
         *[network.parameter for network in networks], run.early_stop, *outputs, broken),
        block=CUDA_BLOCK, shared_bytes=shared,
    )  # fmt: skip
    return int(broken)


@functools.lru_cache(maxsize=64)
def _defines(program: Program) -> dict[str, int | str]:
    return cuda_source(program)


def _backward(
    run: _Run, counts: Tensor, upstream: tuple[Tensor | None, ...], wanted: tuple[bool, ...]
) -> list[Tensor | None]:
    """The parameters' gradients; None for those that are not wanted or went into a buffer."""
    result: list[Tensor | None] = []
    addresses: list[tuple[int, int]] = []
    for operand, want in zip(run.operands, wanted, strict=True):
        fresh = torch.zeros_like(operand.parameter) if want and operand.accumulate is None else None
        into = operand.accumulate if want else None
        if into is not None and not isinstance(operand, Table):
            into.touched.fill_(-1)
        result.append(fresh)
        if into is not None:
            addresses.append((into.grad.data_ptr(), into.touched.data_ptr()))
        else:
            addresses.append((checks.pointer(fresh), 0))
    words = array("q", bound(run.program, run.operands, tuple(addresses)))
    given = [None if g is None else g.contiguous() for g in upstream]
    rays = _rays(run)
    lib.fused_backward(
        *_addresses(run, rays), words.buffer_info()[0], *run.program.code, counts.data_ptr(),
        *[checks.pointer(g) for g in given], PART, N_PARTS, threads(),
    )  # fmt: skip
    return result


def _rays(run: _Run) -> tuple:
    """Rays as kernels take them: tensors to keep alive, with strides."""
    m = run.marched
    jitter = None if m.jitter is None else m.jitter.contiguous()
    return (*checks.rows(m.origins), *checks.rows(m.directions), m.t_min.contiguous(), m.t_max.contiguous(), jitter)


def _addresses(run: _Run, rays: tuple) -> list[int]:
    m = run.marched
    args = (*rays, run.n_rays, m.settings, m.bitfield.shape[0], m.resolution, int(m.cone), m.bitfield, run.spans)
    return [a if type(a) is int else 0 if a is None else a.data_ptr() for a in args]


def _check(operand: Operand, device: torch.device) -> None:
    parameter = operand.parameter
    shape = ("E", "F") if isinstance(operand, Table) else ("P",)
    checks.require("fused", "parameter", parameter, shape, device=device)
    if not parameter.is_contiguous():
        raise ValueError("fused: parameters must be contiguous; call .contiguous()")
    if operand.accumulate is not None:
        checks.require("fused", "accumulate.grad", operand.accumulate.grad, tuple(parameter.shape), device=device)
