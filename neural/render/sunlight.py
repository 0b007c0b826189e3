"""How much of a medium lies between each of its points and the sun."""

import math

import numpy as np
from jaxtyping import Float


def sun_thickness(
    density: Float[np.ndarray, "R R R"], to_sun: tuple[float, float, float]
) -> Float[np.ndarray, "R R R"]:
    """Optical thickness between each cell's centre and the sun: the density's integral along that line.

    Slices across the axis that is steepest towards the sun are walked away from it; a running sum lies in a frame that
    is sheared along with the light, so that every slice is interpolated twice in all, however long the way.

    Args:
        density: At the centres of R^3 cells over the unit cube, 1 / edge.
        to_sun: Unit vector.
    """
    n = density.shape[0]
    axis = int(np.argmax(np.abs(to_sun)))
    slices = np.moveaxis(density, axis, 0)
    out = np.empty(slices.shape, np.float32)
    order = range(n) if to_sun[axis] < 0 else range(n - 1, -1, -1)  # the light's way
    length = 1.0 / (n * abs(to_sun[axis]))
    slope = [-to_sun[a] / abs(to_sun[axis]) for a in range(3) if a != axis]  # cells across per slice
    reach = [math.ceil(abs(s) * (n - 1)) + 1 for s in slope]
    running = np.zeros((n + 2 * reach[0], n + 2 * reach[1]))
    wide = np.zeros_like(running)
    inner = slice(reach[0], reach[0] + n), slice(reach[1], reach[1] + n)
    for passed, index in enumerate(order):
        wide[inner] = slices[index]
        own = _shifted(wide, passed * slope[0], passed * slope[1]) * length
        out[index] = _shifted(running + own / 2, -passed * slope[0], -passed * slope[1])[inner]
        running += own
    return np.ascontiguousarray(np.moveaxis(out, 0, axis))


def _shifted(image: np.ndarray, du: float, dv: float) -> np.ndarray:
    """image at (u + du, v + dv), linear between its numbers, zero beyond them."""
    for axis, shift in ((0, du), (1, dv)):
        whole = math.floor(shift)
        image = (1 - (shift - whole)) * _moved(image, whole, axis) + (shift - whole) * _moved(image, whole + 1, axis)
    return image


def _moved(image: np.ndarray, by: int, axis: int) -> np.ndarray:
    """image at u + by."""
    out = np.zeros_like(image)
    n = image.shape[axis]
    if abs(by) >= n:
        return out
    source = [slice(None)] * 2
    target = [slice(None)] * 2
    source[axis] = slice(max(by, 0), n + min(by, 0))
    target[axis] = slice(max(-by, 0), n - max(by, 0))
    out[tuple(target)] = image[tuple(source)]
    return out
