"""Fewer Gaussians for the same scene."""

from neural.gaussians.decimate import decimated
from neural.gaussians.model import Gaussians


def decimate(gaussians: Gaussians, n: int) -> Gaussians:
    """The scene with n Gaussians, neighbours that look alike merged; as it is where it has no more.

    Args:
        gaussians: Stay as they are.
        n: How many are left, at least 1.

    Raises:
        ValueError: n below 1.
    """
    return decimated(gaussians, n)
