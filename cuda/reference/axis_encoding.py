"""Triangle waves and one-blob in plain torch: the oracle of the tests, any float dtype, differentiable by autograd."""

import torch
from jaxtyping import Float
from torch import Tensor


def forward(positions: Float[Tensor, "N D"], kind: int, n_per_axis: int) -> Float[Tensor, "N K"]:
    """Kind 0: triangle waves, 1: one-blob; n_per_axis features of each dimension, dimension after dimension."""
    return (_triangle_wave if kind == 0 else _one_blob)(positions[..., None], n_per_axis).flatten(1)


def backward(grad: Tensor, positions: Tensor, kind: int, n_per_axis: int) -> Tensor:
    """The gradient with respect to the positions, by autograd through `forward`."""
    with torch.enable_grad():
        leaf = positions.detach().requires_grad_()
        return torch.autograd.grad(forward(leaf, kind, n_per_axis), leaf, grad)[0]


def backward_backward(
    second: Tensor, grad: Tensor, positions: Tensor, kind: int, n_per_axis: int
) -> tuple[Tensor, Tensor]:
    """From the gradient of `backward`'s result: to the upstream gradient and to the positions."""
    with torch.enable_grad():
        leaf, upstream = positions.detach().requires_grad_(), grad.detach().requires_grad_()
        (first,) = torch.autograd.grad(forward(leaf, kind, n_per_axis), leaf, upstream, create_graph=True)
        grads = torch.autograd.grad(first, (upstream, leaf), second, allow_unused=True)
    return tuple(torch.zeros_like(v) if g is None else g for g, v in zip(grads, (grad, positions), strict=True))  # type: ignore[return-value]


def _triangle_wave(x: Tensor, n: int) -> Tensor:
    k = torch.arange(n, dtype=x.dtype, device=x.device)
    t = x * 2.0 ** (k - 1) + k / 4
    f = t - t.detach().floor()
    return 4 * torch.where(f < 0.5, 0.5 - f, f - 0.5) - 1


def _one_blob(x: Tensor, n: int) -> Tensor:
    edges = torch.arange(n + 1, dtype=x.dtype, device=x.device) / n
    mass = sum(_quartic_cdf((edges - x + box) * n) for box in (0, -1, 1))
    return mass[..., 1:] - mass[..., :-1]  # type: ignore[index]


def _quartic_cdf(u: Tensor) -> Tensor:
    """The integral of 15/16 (1 - u^2)^2 from -1."""
    rise = 15 / 16 * (u - 2 / 3 * u**3 + 1 / 5 * u**5) + 0.5
    one = torch.ones_like(u)
    return torch.where(u <= -1, 0 * one, torch.where(u >= 1, one, rise))
