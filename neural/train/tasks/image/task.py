"""One training step of an image."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from neural.losses import l2, steady_mean
from neural.train.draws import step_generator
from neural.train.tasks.field.task import FieldTask, Fit
from neural.train.tasks.image.config import ImageConfig
from neural.train.tasks.image.data import ImageData

VALIDATION_STREAM = 2
VALIDATED = 1 << 15  # pixels of a quick look
RELATIVE_EPS = 1e-2


class ImageTask(FieldTask):
    """Fits a field to a picture's values; see `FieldTask`."""

    unit = "pixels"

    def __init__(self, field: nn.Module, data: ImageData, config: ImageConfig, device: torch.device) -> None:
        super().__init__(field, config, device)
        self.data = data

    def fit(self, step: int) -> Fit:
        """Compares the field with the step's pixels."""
        positions, target = self.data.draw(step)
        target = target.to(self.device)
        predicted = self.at(positions.to(self.device))
        error = l2(predicted, target)
        loss = relative_l2(predicted, target) if self.config.optim.loss == "relative_l2" else error
        return Fit(loss, len(target), float(error.detach()))

    @torch.no_grad()
    def validate(self, step: int) -> Mapping[str, float]:
        """PSNR of pixels from anywhere, sRGB, by the averaged field: training has seen them, as the whole picture."""
        picture = self.data.picture
        flat = torch.randint(
            picture.width * picture.height, (VALIDATED,),
            generator=step_generator(self.config.run.seed, step, VALIDATION_STREAM),
        )  # fmt: skip
        rows, columns = flat // picture.width, flat % picture.width
        target = self.data.values(picture.gather(rows.numpy(), columns.numpy()))
        positions = self.data.positions(rows, columns)
        predicted = self.averaged_field()(positions.to(self.device)).cpu()
        error = (self.data.shown(predicted) - self.data.shown(target)).double().square().mean()
        return {"check_psnr": float(-10 * torch.log10(error.clamp(min=1e-12)))}


def relative_l2(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean of the squared differences over the square of the target.

    Source: Lehtinen et al. 2018, arXiv:1803.04189, section 3.3, with the constant of tiny-cuda-nn. Theirs is over the
    square of the prediction, as its targets are noisy. A picture's are exact; and the first steps, whose prediction is
    about 0, would leave Adam with moments that it takes hundreds of steps to forget.
    """
    return steady_mean((predicted - target).square() / (target.square() + RELATIVE_EPS))
