"""Noise on the centres of faint Gaussians, the exploring half of MCMC densification."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.graph import increment_version

from neural.cuda import checks, jit, library, philox
from neural.cuda.native import lib, threads
from neural.cuda.reference import gaussian_noise as reference


def gaussian_noise(
    means: Float[Tensor, "N 3"],
    quats: Float[Tensor, "N 4"],
    log_scales: Float[Tensor, "N 3"],
    opacity_logits: Float[Tensor, "N"],
    strength: float,
    seed: int,
    step: int,
) -> None:
    """Moves centres by noise of each Gaussian's own shape, in place and outside of autograd.

    means += strength sigmoid(-100 (opacity - 0.005)) covariance n, n ~ N(0, I). Gaussians with an opacity above 0.166,
    whose factor is below 1e-7, and those whose quaternion is zero stay.

    Args:
        means: Scene units, contiguous; may be a parameter.
        quats: w x y z, of any length.
        log_scales: Logarithms of the standard deviations.
        opacity_logits: Before the sigmoid.
        strength: 5e5 times the learning rate of the means, over the extent of the scene squared.
        seed: The run's seed, any 64-bit integer.
        step: The training step, 0 to 2^32 - 1: (seed, step, row) gives the same noise for any number of threads, and
            whether or not the run was resumed.

    Raises:
        TypeError, ValueError: A wrong dtype, shape or device, means that are not contiguous, or a step out of range.

    Source: Kheradmand et al. 2024, arXiv:2404.09591, section 3.2.
    """
    checks.require("gaussian_noise", "means", means, ("N", 3))
    n, device = means.shape[0], means.device
    checks.require("gaussian_noise", "quats", quats, (n, 4), device=device)
    checks.require("gaussian_noise", "log_scales", log_scales, (n, 3), device=device)
    checks.require("gaussian_noise", "opacity_logits", opacity_logits, (n,), device=device)
    if not means.is_contiguous():
        raise ValueError("gaussian_noise: means must be contiguous, because they are written in place")
    philox.check_key("gaussian_noise", 0, step)
    arguments = means.detach(), quats.detach(), log_scales.detach(), opacity_logits.detach()
    if torch.compiler.is_compiling():
        torch.ops.neural.gaussian_noise(*arguments, float(strength), philox.signed(seed), step)
        return
    _move(*arguments, float(strength), philox.signed(seed), step)
    increment_version((means,))


def _move(
    means: Tensor, quats: Tensor, log_scales: Tensor, logits: Tensor, strength: float, seed: int, step: int
) -> None:
    n = means.shape[0]
    backend = checks.backend(means)
    if n == 0:
        return
    if backend == "reference":
        reference.move(means, quats, log_scales, logits, strength, seed % 2**64, step)
        return
    quats, log_scales, logits = quats.contiguous(), log_scales.contiguous(), logits.contiguous()
    if backend == "cpu":
        lib.gaussian_noise(
            means.data_ptr(), quats.data_ptr(), log_scales.data_ptr(), logits.data_ptr(), n, strength, seed % 2**64,
            step, threads(),
        )  # fmt: skip
    else:
        jit.launch(
            "gaussian_noise", "gaussian_noise", {}, n, (means, quats, log_scales, logits, n, strength, seed, step)
        )


library.define(
    "gaussian_noise",
    "(Tensor(a!) means, Tensor quats, Tensor log_scales, Tensor logits, float strength, int seed, int step) -> ()",
    implementation=_move,
    fake=lambda *_: None,
)
