r"""Lens maths: camera-space points <-> the plane z = 1, for every lens that `Cameras` knows.

Naming law: `points` are in camera axes (x right, y down, z forward); `plane` holds normalised image
coordinates, pixel = (fx * plane_x + cx, fy * plane_y + cy). Coefficients come as 8 numbers per camera:

    pinhole   0 0 0 0 0 0 0 0
    opencv    k1 k2 p1 p2 k3 k4 k5 k6      radial: p = 0; rational: k4..k6 in the denominator
    fisheye   k1 k2 k3 k4 0 0 0 0          Kannala-Brandt, plane radius = theta (1 + k1 theta^2 + ...)

Source: OpenCV `calib3d` documentation, "Detailed description" (opencv) and "Fisheye camera model" (fisheye).
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

CAMERA_MODELS = ("pinhole", "opencv", "fisheye")
PINHOLE, OPENCV, FISHEYE = range(3)

# residual -> Newton step, and whether the Jacobian has the sign that it has on the optical axis
_Solver = Callable[[Tensor], tuple[Tensor, Tensor]]

_MAX_ITERATIONS = 64  # on the CPU the loop leaves as soon as every point has converged
_DEVICE_ITERATIONS = 9  # elsewhere a test for convergence would stall the queue, so the count is fixed


def project(points: Float[Tensor, "P 3"], distortion: Float[Tensor, "8"], model: int) -> Float[Tensor, "P 2"]:
    """Project camera-space points onto the plane z = 1 through one lens.

    Returns:
        Plane coordinates; NaN where the lens cannot see the point: behind the camera (pinhole, opencv), or
        beyond the angle at which the lens polynomial turns back and would show the point a second time.
    """
    if model == FISHEYE:
        return _project_fisheye(points, distortion)
    visible = points[:, 2:] > 0
    plane = points[:, :2] / torch.where(visible, points[:, 2:], 1.0)
    if model == OPENCV:
        visible = visible & (plane.square().sum(-1, keepdim=True) < fold(distortion, model) ** 2)
        plane = _opencv(plane, distortion)[0]
    return torch.where(visible, plane, math.nan)


def unproject(plane: Float[Tensor, "R 2"], distortion: Float[Tensor, "R 8"], model: int) -> Float[Tensor, "R 3"]:
    """Directions of the rays that reach `plane` through the lens; unit length for fisheye, z = 1 otherwise.

    A plane position outside the image of the lens (no such ray exists) yields the nearest ray that does.
    """
    if model == FISHEYE:
        radius = plane.norm(dim=-1, keepdim=True)
        theta = _newton(radius, lambda t: _fisheye(t, distortion))
        outward = plane / radius.clamp(min=torch.finfo(plane.dtype).tiny)
        return torch.cat([torch.sin(theta) * outward, torch.cos(theta)], dim=-1)
    if model == OPENCV:
        plane = _newton(plane, lambda xy: _opencv(xy, distortion))
    return torch.cat([plane, torch.ones_like(plane[:, :1])], dim=-1)


def fold(distortion: Float[Tensor, "8"], model: int) -> float:
    """The undistorted radius (opencv) or angle in radians (fisheye) where the radial map stops growing."""
    k = distortion.detach().cpu().double().numpy()
    if not k.any():
        return math.pi if model == FISHEYE else math.inf
    if model == FISHEYE:
        slope = np.array([9 * k[3], 7 * k[2], 5 * k[1], 3 * k[0], 1.0])  # d theta_d / d theta, in theta^2
        return min(math.sqrt(_first_root(slope)), math.pi)
    above = np.poly1d([k[4], k[1], k[0], 1.0])  # in u = r^2
    below = np.poly1d([k[7], k[6], k[5], 1.0])
    u = np.poly1d([1.0, 0.0])
    growth = above * below + 2 * u * (above.deriv() * below - above * below.deriv())
    return math.sqrt(min(_first_root(growth.coeffs), _first_root(below.coeffs)))


def _first_root(coefficients: np.ndarray) -> float:
    """Smallest positive real root, inf if there is none."""
    roots = np.roots(np.where(np.abs(coefficients) < 1e-14, 0.0, coefficients))
    real = roots.real[(np.abs(roots.imag) < 1e-9 * (1 + np.abs(roots.real))) & (roots.real > 0)]
    return float(real.min()) if real.size else math.inf


def _project_fisheye(points: Tensor, distortion: Tensor) -> Tensor:
    radius = points[:, :2].norm(dim=-1, keepdim=True)
    theta = torch.atan2(radius, points[:, 2:])
    bent = _fisheye(theta, distortion)[0]
    tiny = torch.finfo(points.dtype).tiny
    # On the axis theta / radius -> 1 / z, so the limit keeps values and gradients finite there.
    ratio = torch.where(radius > tiny, bent / radius.clamp(min=tiny), 1 / points[:, 2:].abs().clamp(min=tiny))
    return torch.where(theta < fold(distortion, FISHEYE), points[:, :2] * ratio, math.nan)


def _opencv(xy: Tensor, k: Tensor) -> tuple[Tensor, _Solver]:
    """Distorted plane position, and the solver of J d = residual (J is symmetric, 2 x 2)."""
    x, y = xy[..., 0], xy[..., 1]
    k1, k2, p1, p2, k3, k4, k5, k6 = k.unbind(-1)
    u = x * x + y * y
    above = 1 + u * (k1 + u * (k2 + u * k3))
    below = 1 + u * (k4 + u * (k5 + u * k6))
    radial = above / below
    value = torch.stack(
        [
            x * radial + 2 * p1 * x * y + p2 * (u + 2 * x * x),
            y * radial + p1 * (u + 2 * y * y) + 2 * p2 * x * y,
        ],
        dim=-1,
    )

    def solve(residual: Tensor) -> tuple[Tensor, Tensor]:
        slope = (k1 + u * (2 * k2 + u * 3 * k3) - radial * (k4 + u * (2 * k5 + u * 3 * k6))) / below
        j_xx = radial + 2 * x * x * slope + 2 * p1 * y + 6 * p2 * x
        j_yy = radial + 2 * y * y * slope + 6 * p1 * y + 2 * p2 * x
        j_xy = 2 * x * y * slope + 2 * p1 * x + 2 * p2 * y
        a, b = residual[..., 0], residual[..., 1]
        step = torch.stack([j_yy * a - j_xy * b, j_xx * b - j_xy * a], dim=-1)
        determinant = (j_xx * j_yy - j_xy * j_xy)[..., None]
        return step / determinant, (determinant > 0) & (below > 0)[..., None]

    return value, solve


def _fisheye(theta: Tensor, k: Tensor) -> tuple[Tensor, _Solver]:
    """Plane radius at an angle, and the solver of the derivative (1 x 1)."""
    k1, k2, k3, k4 = (k[..., i : i + 1] for i in range(4))
    u = theta * theta
    value = theta * (1 + u * (k1 + u * (k2 + u * (k3 + u * k4))))

    def solve(residual: Tensor) -> tuple[Tensor, Tensor]:
        slope = 1 + u * (3 * k1 + u * (5 * k2 + u * (7 * k3 + u * 9 * k4)))
        return residual / slope, slope > 0

    return value, solve


def _newton(target: Tensor, evaluate: Callable[[Tensor], tuple[Tensor, _Solver]]) -> Tensor:
    """Solve value(x) = target by Newton steps that are shortened where they would enlarge the residual.

    The start is the optical axis, where all lenses have slope 1, so the first candidate is the target itself.
    Beyond a fold or a pole of the lens the Jacobian changes sign: such candidates are refused as well.
    """
    on_cpu = target.device.type == "cpu"
    goal = (4 * torch.finfo(target.dtype).eps) ** 2 * (1 + target.square().sum(-1, keepdim=True))
    x = torch.zeros_like(target)
    value, solve = evaluate(x)
    residual = target - value
    error, (step, _) = residual.square().sum(-1, keepdim=True), solve(residual)
    length = torch.ones_like(error)
    for _ in range(_MAX_ITERATIONS if on_cpu else _DEVICE_ITERATIONS):
        if on_cpu and bool(((error <= goal) | (length < 1e-4)).all()):
            break
        candidate = x + length * step
        value, solve = evaluate(candidate)
        residual = target - value
        candidate_error = residual.square().sum(-1, keepdim=True)
        candidate_step, regular = solve(residual)
        better = regular & (candidate_error < error)  # False for NaN
        x = torch.where(better, candidate, x)
        step = torch.where(better, candidate_step, step)
        error = torch.where(better, candidate_error, error)
        length = torch.where(better, 1.0, length / 4)
    return x
