"""How close a trained volume is to its grid: rendered pictures, and the density itself."""

from dataclasses import dataclass
from typing import Any

from neural import atomic
from neural.evaluate import Evaluation


@dataclass(frozen=True)
class VolumeScores:
    """Scores of a volume.

    Attributes:
        pictures: Of rendered pictures beside those of the grid.
        covered_psnr: Mean over the pictures of the PSNR of those pixels that show the volume, dB: the sky is equal in
            both and counts for `pictures`.
        density_mae: Mean absolute error in density over the box, 1 / edge.
        mean_density: Of the grid, 1 / edge.
        size: Pixels along each side of a picture.
    """

    pictures: Evaluation
    covered_psnr: float
    density_mae: float
    mean_density: float
    size: int

    def __str__(self) -> str:
        shown, n = self.pictures, len(self.pictures.images)
        similar = "" if shown.ssim is None else f" SSIM {shown.ssim:.4f}"
        views = f"{n} picture{'s' if n != 1 else ''} of {self.size} x {self.size}"
        return (
            f"mean PSNR {shown.psnr:.2f} dB{similar} ({views} of the grid and of the field)\n"
            f"mean PSNR {self.covered_psnr:.2f} dB over the pixels that show it, "
            f"density MAE {self.density_mae:.4g} of a mean of {self.mean_density:.4g} / edge"
        )

    def tiles(self) -> dict[str, str]:
        """The numbers that lead a report: label -> value."""
        relative = self.density_mae / self.mean_density
        return {**self.pictures.tiles(), "density MAE": f"{self.density_mae:.3g} / edge ({relative:.1%} of the mean)"}

    def as_dict(self) -> dict[str, Any]:
        """As in `eval.json`."""
        return {
            **self.pictures.as_dict(),
            "summary": str(self).partition("\n")[0],
            "covered_psnr": atomic.finite(self.covered_psnr),
            "density_mae": self.density_mae,
            "mean_density": self.mean_density,
            "size": self.size,
        }
