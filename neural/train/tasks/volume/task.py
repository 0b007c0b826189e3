"""One training step of a volume's field: density and albedo at points of the grid."""

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neural import metrics
from neural.losses import steady_mean
from neural.render.cloud import Medium
from neural.scenes.volumes.survey import Survey
from neural.scenes.volumes.voxels import Voxels
from neural.train.tasks.field.task import FieldTask, Fit
from neural.train.tasks.volume.config import VolumeConfig
from neural.train.tasks.volume.points import VolumePoints

Picture = Callable[[Medium], Float[Tensor, "H W 3"]]


class VolumeTask(FieldTask):
    """Trains a field on a voxel grid; see `neural.train.loop.Task`.

    The field gives the density as a share of the grid's largest, so that its outputs are about 1 whatever the unit.

    Args:
        field: [0, 1]^3 to 4 values; on the CPU, moved to `device`.
        voxels: What it is to be like.
        survey: Of the voxels.
        config: Resolved.
        device: Where to train.
        picture: Renders a medium small, for a quick look.
    """

    def __init__(
        self, field: nn.Module, voxels: Voxels, survey: Survey, config: VolumeConfig, device: torch.device,
        picture: Picture,
    ) -> None:  # fmt: skip
        super().__init__(field, config, device)
        self.voxels, self._densest, self._picture = voxels, survey.densest, picture
        self._points = VolumePoints(survey, voxels.box, config.run.seed)
        self._truth: Tensor | None = None

    def fit(self, step: int) -> Fit:
        """Density and albedo at points, albedo as far as there is any density that shows it."""
        sampling = self.config.sampling
        positions = self._points.draw(step, sampling.points, sampling.occupied_share).to(self.device)
        truth = self.voxels.sample(positions).t()
        density, albedo = truth[0] / self._densest, truth[1:]
        found = self.at(positions).t()
        thin = (found[0] - density).square()
        tint = (density * (found[1:] - albedo).square()).sum(0)
        loss = steady_mean(thin + self.config.optim.albedo_weight * tint)
        with torch.no_grad():
            error = float(steady_mean(thin))
        return Fit(loss, len(positions), error)

    def validate(self, step: int) -> Mapping[str, float]:
        """PSNR of a small picture of the field beside that of the grid."""
        if self._truth is None:
            self._truth = self._picture(self.voxels.sample)
        image = self._picture(medium_of(self.averaged_field(), self._densest))
        return {"check_psnr": metrics.psnr(image, self._truth)}


def medium_of(field: nn.Module, densest: float) -> Medium:
    """The field as a medium: density in 1 / edge and albedo."""

    @torch.no_grad()
    def look_up(positions: Float[Tensor, "N 3"]) -> Float[Tensor, "N 4"]:
        values = field(positions).t().clone()
        values[0] *= densest
        return values.t()

    return look_up
