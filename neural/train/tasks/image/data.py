"""Pixels of a picture in the space that is learnt: a step's batch, or rows for scores."""

import math

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from neural import color
from neural.scenes.pictures.picture import Picture, Space, unit_values
from neural.train.draws import step_generator
from neural.train.tasks.image.config import ImageDataConfig

BACKGROUNDS = {"white": 1.0, "black": 0.0}


class ImageData:
    """A picture as a field sees it: values over positions, the longer side from 0 to 1.

    Args:
        picture: Memory-mapped, or in memory.
        config: Resolved.
        seed: Of the draws.
    """

    def __init__(self, picture: Picture, config: ImageDataConfig, seed: int) -> None:
        self.picture = picture
        self.space: Space = "linear" if config.space == "linear" else "srgb"
        self.background = BACKGROUNDS[config.background]
        self._config, self._seed = config, seed
        self.side = max(picture.width, picture.height)

    def draw(self, step: int) -> tuple[Float[Tensor, "N 2"], Float[Tensor, "N C"]]:
        """Positions and values of a step's pixels, a function of seed and step."""
        n = self._config.batch
        assert n is not None, "the configuration is not resolved"
        generator = step_generator(self._seed, step)
        width, height = self.picture.width, self.picture.height
        if self._config.sampling == "stratified":
            rows, columns = _stratified(n, width, height, generator)
        else:
            flat = torch.randint(width * height, (n,), generator=generator).sort().values  # near pixels, near memory
            rows, columns = flat // width, flat % width
        values = self.values(self.picture.gather(rows.numpy(), columns.numpy()))
        return self.positions(rows, columns), values

    def positions(self, rows: Tensor, columns: Tensor) -> Float[Tensor, "N 2"]:
        """Of pixel centres; a transposed view of [2, N]."""
        return torch.stack([columns, rows]).float().add_(0.5).mul_(1 / self.side).t()

    def values(self, stored: Shaped[np.ndarray, "*B C"]) -> Float[Tensor, "*B K"]:
        """What is learnt, of stored pixels: without alpha, in the space asked for."""
        values = unit_values(stored)
        if self.picture.alpha:  # on the background as the file's values are, as photographs are
            values = values[..., :-1] * values[..., -1:] + (1 - values[..., -1:]) * self.background
        if self.space == "linear" and not self.picture.linear:
            return color.to_linear(values)
        if self.space == "srgb" and self.picture.linear:
            return color.to_srgb(values)
        return values

    def rows(self, top: int, bottom: int) -> Float[Tensor, "H W K"]:
        """Some rows of the picture, as `values`."""
        return self.values(self.picture.pixels[top:bottom])

    def shown(self, values: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
        """sRGB in [0, 1] of learnt values."""
        return (color.to_srgb(values) if self.space == "linear" else values).clamp(0, 1)


def _stratified(
    n: int, width: int, height: int, generator: torch.Generator
) -> tuple[Int64[Tensor, "N"], Int64[Tensor, "N"]]:
    """Rows and columns of about `n` pixels, never more: one in each cell of a grid of nearly square cells."""
    across = min(n, max(1, round(math.sqrt(n * width / height))))
    down = max(1, n // across)
    jitter = torch.rand(2, down, across, generator=generator)
    rows = ((torch.arange(down)[:, None] + jitter[0]) * (height / down)).long().clamp_(max=height - 1)
    columns = ((torch.arange(across) + jitter[1]) * (width / across)).long().clamp_(max=width - 1)
    return rows.flatten(), columns.flatten()
