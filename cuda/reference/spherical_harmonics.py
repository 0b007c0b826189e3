"""Spherical harmonics in plain torch: the oracle of the tests, in any float dtype, on any device."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def forward(directions: Float[Tensor, "N 3"], degree: int) -> Float[Tensor, "N K"]:
    """All Y_lm below `degree` from the textbook sums, not from the kernel's recurrence.

    P_l^m without its sin^m factor is the m-th derivative of the Legendre polynomial of order l, taken here from
    the explicit power sum; (x + iy)^m is expanded by the binomial theorem.
    """
    x, y, z = directions.unbind(-1)
    columns = [torch.zeros_like(x)] * (degree * degree)
    for order in range(degree):
        for m in range(order + 1):
            norm = (
                math.sqrt((2 * order + 1) / (4 * math.pi) * math.factorial(order - m) / math.factorial(order + m))
                * (-1) ** m
            )
            legendre = _legendre_derivative(order, m, z)
            if m == 0:
                columns[order * order + order] = norm * legendre
                continue
            cosine = sum((-1) ** (k // 2) * math.comb(m, k) * x ** (m - k) * y**k for k in range(0, m + 1, 2))
            sine = sum((-1) ** (k // 2) * math.comb(m, k) * x ** (m - k) * y**k for k in range(1, m + 1, 2))
            columns[order * order + order + m] = math.sqrt(2) * norm * legendre * cosine
            columns[order * order + order - m] = math.sqrt(2) * norm * legendre * sine
    return torch.stack(columns, -1)


def backward(grad: Float[Tensor, "N K"], directions: Float[Tensor, "N 3"], degree: int) -> Float[Tensor, "N 3"]:
    """The gradient with respect to the directions, by autograd through `forward`."""
    with torch.enable_grad():
        leaf = directions.detach().requires_grad_()
        return torch.autograd.grad(forward(leaf, degree), leaf, grad)[0]


def _legendre_derivative(order: int, m: int, z: Tensor) -> Tensor:
    """d^m/dz^m P_order(z), from P_l = 2^-l sum_k (-1)^k C(l,k) C(2l-2k,l) z^(l-2k)."""
    total = torch.zeros_like(z)
    for k in range(order // 2 + 1):
        power = order - 2 * k
        if power < m:
            continue
        factor = (-1) ** k * math.comb(order, k) * math.comb(2 * order - 2 * k, order) / 2**order
        total = total + factor * math.perm(power, m) * z ** (power - m)
    return total
