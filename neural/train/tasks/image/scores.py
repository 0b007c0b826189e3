"""Scores of a trained image: one line to read, one JSON file to keep."""

from dataclasses import dataclass
from typing import Any

from neural import atomic, metrics
from neural.train.tasks.image.codecs import MOST_PIXELS, Coded


@dataclass(frozen=True)
class ImageScores:
    """How close the field is to its picture, and how large beside other formats."""

    width: int
    height: int
    psnr: float
    """Decibels, of clamped, unquantised sRGB."""
    ssim: float | None
    """None below 11x11 pixels."""
    ms_ssim: float | None
    """None below 176x176 pixels."""
    n_parameters: int
    n_bytes: int
    """Of the parameters as float16 (a probed grid's codes in their bits instead of logits), deflated."""
    codecs: tuple[Coded, ...]
    """Other formats at the same PSNR."""

    def __str__(self) -> str:
        near = f"needs {metrics.WINDOW}x{metrics.WINDOW} pixels" if self.ssim is None else f"{self.ssim:.4f}"
        side = metrics.SMALLEST_MS
        wide = f"needs {side}x{side} pixels" if self.ms_ssim is None else f"{self.ms_ssim:.4f}"
        lines = [
            f"PSNR {self.psnr:.2f} dB SSIM {near} MS-SSIM {wide} ({self.width} x {self.height} pixels, sRGB)",
            f"{_size(self.n_bytes)} as float16, deflated ({self.n_parameters:,} parameters, "
            f"{8 * self.n_bytes / (self.width * self.height):.2f} bits a pixel)",
        ]
        for coded in self.codecs:
            at = f"quality {coded.quality}" if coded.quality is not None else f"best, only {coded.psnr:.2f} dB"
            lines.append(f"{coded.name} of that PSNR: {_size(coded.n_bytes)} ({at})")
        return "\n".join(lines)

    def tiles(self) -> dict[str, str]:
        """The numbers that lead a report: label -> value."""
        found = {"PSNR": f"{self.psnr:.2f} dB"}
        if self.ssim is not None:
            found["SSIM"] = f"{self.ssim:.4f}"
        if self.ms_ssim is not None:
            found["MS-SSIM"] = f"{self.ms_ssim:.4f}"
        return {**found, "size": _size(self.n_bytes), **{c.name: _size(c.n_bytes) for c in self.codecs}}

    def as_dict(self) -> dict[str, Any]:
        """As in `eval.json`; an infinite PSNR (equal pictures) is null."""
        estimated = self.width * self.height > MOST_PIXELS
        return {
            "summary": str(self).partition("\n")[0],
            "psnr": atomic.finite(self.psnr),
            "ssim": self.ssim,
            "ms_ssim": self.ms_ssim,
            "width": self.width,
            "height": self.height,
            "n_parameters": self.n_parameters,
            "bytes": {"field": self.n_bytes, **{c.name: c.n_bytes for c in self.codecs}},
            "quality": {c.name: c.quality for c in self.codecs},
            "protocol": "clamped, unquantised sRGB, all pixels; field as float16 deflated; other formats at the same "
            "PSNR of 8 bits" + (", by a mosaic of tiles" if estimated else ""),
        }


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:.2f} MB" if n_bytes >= 1e6 else f"{n_bytes / 1e3:.1f} kB"
