"""Directions by name."""

import numpy as np
from jaxtyping import Float64

AXES = ("x", "-x", "y", "-y", "z", "-z")


def axis(name: str) -> Float64[np.ndarray, "3"]:
    """The unit vector of one of `AXES`."""
    direction = np.zeros(3)
    direction["xyz".index(name[-1])] = -1.0 if name.startswith("-") else 1.0
    return direction
