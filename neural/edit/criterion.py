"""A reason to remove Gaussians, and what it found."""

from dataclasses import dataclass
from typing import Protocol

from jaxtyping import Bool
from torch import Tensor

from neural.gaussians.model import Gaussians


@dataclass(frozen=True)
class Found:
    """What a criterion thinks of a scene.

    Args:
        rows: Whether each Gaussian is to go.
        said: The numbers that decided.
    """

    rows: Bool[Tensor, "N"]
    said: str


class Criterion(Protocol):
    """A reason to remove Gaussians."""

    @property
    def name(self) -> str:
        """A word."""

    def find(self, gaussians: Gaussians) -> Found:
        """Which Gaussians it is about."""


def at_least(what: str, value: float, low: float, high: float) -> None:
    """Raises ValueError unless low <= value <= high."""
    if not low <= value <= high:
        raise ValueError(f"{what} must be between {low:g} and {high:g}, got {value:g}")
