"""A Gaussian scene as files hold it, whatever the format."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32

SH_C0 = 0.28209479177387814  # the constant of degree 0
SH_COUNTS = (0, 3, 8, 15)  # coefficients above degree 0, by degree
_MOST_LOG_SCALE = 80.0  # exp of more than 88 is infinite in fp32
_SHORTEST_QUAT, _LONGEST_QUAT = 1e-15, 1e15  # outside, the squared length is 0 or infinite in fp32


@dataclass(frozen=True)
class SplatRecord:
    """A Gaussian scene as files hold it; quantities before their activation.

    Attributes:
        means: Centres in the file's frame (x right, y down, z forward after training on OpenCV cameras).
        quats: Rotations, w x y z, of any length above 0.
        log_scales: Natural logarithms of the standard deviations along the rotated axes.
        opacity_logits: Opacities before the sigmoid.
        sh0: Colour coefficients of degree 0: sRGB = 0.5 + 0.2820948 sh0.
        shN: Those above degree 0, K = 0, 3, 8 or 15 for degree 0 to 3.
        antialiased: Drawn with opacities compensated for the blur, as in Mip-Splatting. How wide that is files do not
            say: 0.1 square pixels there and here, 0.3 in gsplat and its kin.

    Raises:
        TypeError, ValueError: An array that is not float32, not finite or of another shape; no Gaussian at all;
            a quaternion of length 0; a scale that overflows.
    """

    means: Float32[np.ndarray, "N 3"]
    quats: Float32[np.ndarray, "N 4"]
    log_scales: Float32[np.ndarray, "N 3"]
    opacity_logits: Float32[np.ndarray, "N"]
    sh0: Float32[np.ndarray, "N 3"]
    shN: Float32[np.ndarray, "N K 3"]
    antialiased: bool = False

    def __post_init__(self) -> None:
        n = len(self.means)
        if n == 0:
            raise ValueError("holds no Gaussians; there is nothing to show")
        shapes = {"means": (n, 3), "quats": (n, 4), "log_scales": (n, 3), "opacity_logits": (n,), "sh0": (n, 3)}
        shapes["shN"] = (n, self.shN.shape[1] if self.shN.ndim == 3 else 0, 3)
        if shapes["shN"][1] not in SH_COUNTS:
            raise ValueError(f"shN has {shapes['shN'][1]} coefficients, expected one of {SH_COUNTS}")
        for name, shape in shapes.items():
            array = getattr(self, name)
            if array.dtype != np.float32:
                raise TypeError(f"{name} must be float32, got {array.dtype}; call .astype(np.float32)")
            if array.shape != shape:
                raise ValueError(f"{name} must be {list(shape)}, got {list(array.shape)}")
            refuse_rows(name, ~np.isfinite(array), "is not finite; remove it")
        length = np.linalg.norm(self.quats.astype(np.float64), axis=1)
        unusable = (length < _SHORTEST_QUAT) | (length > _LONGEST_QUAT)
        refuse_rows("quats", unusable, "has no direction (its length is 0 or beyond fp32); write 1 0 0 0 or remove it")
        large = self.log_scales > _MOST_LOG_SCALE
        refuse_rows("log_scales", large, f"is above {_MOST_LOG_SCALE:g}; scales are logarithms, remove it")

    def __len__(self) -> int:
        return len(self.means)

    @property
    def sh_degree(self) -> int:
        """Degree of the colours, 0 to 3."""
        return SH_COUNTS.index(self.shN.shape[1])


def refuse_rows(name: str, wrong: Bool[np.ndarray, "N ..."], why: str) -> None:
    """Raises ValueError that names the first row with something wrong, if there is one."""
    if wrong.any():
        bad = wrong.any(axis=tuple(range(1, wrong.ndim)))
        raise ValueError(f"{name} of row {int(bad.argmax())} {why} ({int(bad.sum())} such rows)")
