"""Scores of held-out images: one line to read, one JSON file to keep."""

import errno
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from tqdm import tqdm

from neural import atomic, lpips, metrics


@dataclass(frozen=True)
class ImageScore:
    """Scores of one image."""

    name: str
    psnr: float
    """Decibels."""
    ssim: float | None
    """None for an image of less than 11x11 pixels."""
    lpips: float | None
    """None where the weights are not installed, and for an image of less than 32x32 pixels."""
    corrected_psnr: float | None = None
    """PSNR after `metrics.corrected`; None unless it was asked for."""


@dataclass(frozen=True)
class Evaluation:
    """Scores of a split; means are of the per-image values, where an image has one."""

    images: tuple[ImageScore, ...]
    background: str
    """"white" or "black", what transparent pixels are composited on; "none" for opaque photographs."""
    split: str
    lpips_net: str | None
    masked: bool = False
    """Whether only the pixels of the capture's masks count."""
    left_out: int = 0
    """Images of the split in which none counts."""

    @property
    def psnr(self) -> float:
        return sum(image.psnr for image in self.images) / len(self.images)

    @property
    def corrected_psnr(self) -> float | None:
        return _mean([image.corrected_psnr for image in self.images])

    @property
    def ssim(self) -> float | None:
        return _mean([image.ssim for image in self.images])

    @property
    def lpips(self) -> float | None:
        return _mean([image.lpips for image in self.images])

    def __str__(self) -> str:
        n = len(self.images)
        similarity = _needs(metrics.WINDOW) if self.ssim is None else f"{self.ssim:.4f}"
        perceptual = lpips.NOT_INSTALLED if self.lpips_net is None else _needs(lpips.SMALLEST)
        if self.lpips is not None:
            perceptual = f"{self.lpips:.4f} ({self.lpips_net})"
        corrected = ""
        if self.corrected_psnr is not None:
            corrected = (
                f"\nmean PSNR {self.corrected_psnr:.2f} dB after colour correction: exposures of these are not known"
            )
        return (
            f"mean PSNR {self.psnr:.2f} dB SSIM {similarity} "
            f"({n} image{'s' if n != 1 else ''}, {self.background}, {self.split}{', masked' if self.masked else ''}"
            f"{f', {self.left_out} masked out' if self.left_out else ''}){corrected}\n"
            f"mean LPIPS {perceptual}"
        )

    def tiles(self) -> dict[str, str]:
        """The numbers that lead a report: label -> value."""
        found = {"PSNR": f"{self.psnr:.2f} dB"}
        if self.corrected_psnr is not None:
            found["PSNR, colours corrected"] = f"{self.corrected_psnr:.2f} dB"
        if self.ssim is not None:
            found["SSIM"] = f"{self.ssim:.4f}"
        if self.lpips is not None:
            found["LPIPS"] = f"{self.lpips:.4f}"
        return found

    def as_dict(self) -> dict[str, Any]:
        """As in `eval.json`; an infinite PSNR (equal images) is null."""
        scores = [
            {"name": i.name, "psnr": atomic.finite(i.psnr), "ssim": i.ssim, "lpips": i.lpips}
            | ({} if i.corrected_psnr is None else {"corrected_psnr": atomic.finite(i.corrected_psnr)})
            for i in self.images
        ]
        mean = {"psnr": atomic.finite(self.psnr), "ssim": self.ssim, "lpips": self.lpips}
        if self.corrected_psnr is not None:
            mean["corrected_psnr"] = atomic.finite(self.corrected_psnr)
        return {
            "summary": str(self).partition("\n")[0],
            "mean": mean,
            "n_images": len(self.images),
            "background": self.background,
            "masked": self.masked,
            "n_left_out": self.left_out,
            "split": self.split,
            "lpips_net": self.lpips_net or lpips.NOT_INSTALLED,
            "protocol": "per-image means; clamped, unquantised sRGB; SSIM 11x11, sigma 1.5, valid window",
            "images": scores,
        }


def evaluate(
    render_image: Callable[[int], Float[Tensor, "H W 3"]],
    target_image: Callable[[int], Float[Tensor, "H W 3"]],
    indices: Sequence[int],
    *,
    names: Sequence[str],
    background: str,
    split: str,
    out: Path | None = None,
    lpips_net: lpips.Net = "alex",
    progress: bool = True,
    mask_image: Callable[[int], Bool[Tensor, "H W"]] | None = None,
    correct_colors: bool = False,
) -> Evaluation:
    """Render every image of a split and score it against its photograph.

    Args:
        render_image: Scene image index -> sRGB in [0, 1]; values outside are clamped.
        target_image: The same for the photograph, composited on `background`.
        indices: Which images of the scene.
        names: Names of all images of the scene.
        background: "white", "black" or "none"; part of the protocol, so part of the result.
        split: Name of the split.
        out: Folder of the run; its `eval.json` is replaced.
        lpips_net: "alex" or "vgg".
        progress: Whether to draw a progress bar.
        mask_image: Scene image index -> pixels that count; for LPIPS the others are the photograph's.
        correct_colors: Score each image after `metrics.corrected` too, for what was trained on several exposures.

    Raises:
        ValueError: For an empty split, and for one whose masks let no pixel count.
    """
    if not indices:
        raise ValueError(f"evaluate: the split {split!r} has no images; choose another or a smaller --split-every")
    counted = [i for i in indices if mask_image is None or bool(mask_image(i).any())]
    if not counted:
        raise ValueError(f"evaluate: the masks of the split {split!r} let no pixel count; white means that one does")
    distance = lpips.load(lpips_net)
    scores = []
    for index in tqdm(counted, desc="evaluating", unit="image", disable=not progress, leave=False):
        with torch.no_grad():
            image, target = render_image(index).cpu(), target_image(index).cpu()
        side = min(target.shape[:2])
        mask = None if mask_image is None else mask_image(index)
        similarity = metrics.ssim(image, target, mask) if side >= metrics.WINDOW else None
        peak = metrics.psnr(image, target, mask)
        corrected = None
        if correct_colors:
            corrected = metrics.psnr(metrics.corrected(image, target, mask), target.double(), mask)
        if mask is not None:
            image = torch.where(mask[..., None], image, target)
        perceptual = distance(image, target) if distance is not None and side >= lpips.SMALLEST else None
        scores.append(ImageScore(names[index], peak, similarity, perceptual, corrected))
    net = lpips_net if distance is not None else None
    left_out = len(indices) - len(counted)
    evaluation = Evaluation(tuple(scores), background, split, net, masked=mask_image is not None, left_out=left_out)
    if out is not None:
        try:
            atomic.write_json(out / "eval.json", evaluation.as_dict())
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            # a run that may only be read; the scores are what was asked for
            print(f"{out / 'eval.json'} is not written: {error.strerror}", file=sys.stderr)
    return evaluation


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _needs(side: int) -> str:
    return f"needs {side}x{side} pixels"
