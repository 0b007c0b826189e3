"""The points of a volume training's steps: functions of the seed and the step."""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from neural.cuda import philox
from neural.scenes.volumes.survey import FAINT, Survey

OCCUPIED_STREAM, BOX_STREAM, CHECK_STREAM = 40, 41, 42  # of the random numbers


class VolumePoints:
    """Points of the unit cube, drawn evenly from cells: those that hold anything, or all that the box touches.

    The cells are laid along a Morton curve, and each of a draw's points comes from a stretch of it of its own: every
    part of space gets its share in every step. (That neighbours in memory are neighbours in space was measured to make
    no difference, neither to the encoding's time nor to that of a grid read from a disk.)

    Args:
        survey: Of the grid.
        box: Corners of the grid [2, 3].
        seed: Of the run.
    """

    def __init__(self, survey: Survey, box: Float[Tensor, "2 3"], seed: int) -> None:
        self._seed = seed
        self._upper = box[1].float()
        self._resolution = survey.peaks.shape[0]
        self._occupied = _along_morton(survey.peaks > FAINT)
        steps = np.arange(self._resolution) / self._resolution
        inside = [steps < float(limit) for limit in box[1]]
        self._all = _along_morton(inside[0][:, None, None] & inside[1][None, :, None] & inside[2][None, None, :])

    def draw(self, step: int, n: int, occupied_share: float) -> Float[Tensor, "N 3"]:
        """The points of a step; first those where the grid holds anything."""
        n_occupied = round(n * occupied_share)
        parts = (
            self._within(self._occupied, n_occupied, OCCUPIED_STREAM, step),
            self._within(self._all, n - n_occupied, BOX_STREAM, step),
        )
        return torch.cat([part for part in parts if len(part)])

    def evenly(self, n: int) -> Float[Tensor, "N 3"]:
        """Points all over the box, the same ones every time, none of them of any step's draws."""
        return self._within(self._all, n, CHECK_STREAM, 0)

    def _within(self, cells: Int[Tensor, "M 3"], n: int, stream: int, step: int) -> Float[Tensor, "N 3"]:
        numbers = philox.uniform(n, 4, seed=self._seed, stream=stream, step=step)
        along = (torch.arange(n, dtype=torch.float64) + numbers[:, 3].double()) * (len(cells) / max(n, 1))
        chosen = cells[along.long().clamp(max=len(cells) - 1)]
        return torch.minimum((chosen + numbers[:, :3]) / self._resolution, self._upper)


def _along_morton(mask: np.ndarray) -> Int[Tensor, "M 3"]:
    """Indices of the cells of a mask [R, R, R] in the order of a Morton curve."""
    cells = np.argwhere(mask)
    code = np.zeros(len(cells), np.int64)
    for bit in range(mask.shape[0].bit_length()):
        for axis in range(3):
            code |= (cells[:, axis] >> bit & 1) << (3 * bit + axis)
    return torch.from_numpy(cells[np.argsort(code)])
