"""A Gaussian scene as files hold it, whatever the format."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Int64

SH_C0 = 0.28209479177387814  # the constant of degree 0
SH_COUNTS = (0, 3, 8, 15)  # coefficients above degree 0, by degree
ARRAYS = ("means", "quats", "log_scales", "opacity_logits", "sh0", "shN")
LONGEST_CRS = 200
_MOST_LOG_SCALE = 80.0  # exp of more than 88 is infinite in fp32
_SHORTEST_QUAT, _LONGEST_QUAT = 1e-15, 1e15  # outside, the squared length is 0 or infinite in fp32


@dataclass(frozen=True)
class Placement:
    """Where a scene lies in the world, for formats that have a place for it.

    Attributes:
        metres_per_unit: Length of one unit of the file, where known.
        crs: Name of the coordinate reference system that positions plus `offset` are in, such as EPSG:32631.
        offset: What was taken off the positions so that they fit into single precision or a tile; in the record's
            axes and units.
        axes: Of the file or the capture, where it says them: those that people give coordinates in, although a record
            that was read is RDF (`axes.own` brings it back).
    """

    metres_per_unit: float | None = None
    crs: str | None = None
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    axes: str = "RDF"

    def __post_init__(self) -> None:
        if self.metres_per_unit is not None and not 0 < self.metres_per_unit < float("inf"):
            raise ValueError(f"metres_per_unit must be positive and finite, got {self.metres_per_unit}")
        if self.crs is not None and not (0 < len(self.crs) <= LONGEST_CRS and self.crs.isprintable()):
            raise ValueError(f"crs must be a line of 1 to {LONGEST_CRS} characters, got {self.crs[:40]!r}")
        if len(self.offset) != 3 or not all(abs(x) < 1e30 for x in self.offset):
            raise ValueError(f"offset must be three finite numbers, got {self.offset}")


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
        surfels: Drawn as 2D Gaussians: discs across the third axis, whose scale is as good as none.
        placement: Where it lies in the world.

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
    surfels: bool = False
    placement: Placement = Placement()

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

    def taken(self, rows: Int64[np.ndarray, "M"]) -> "SplatRecord":
        """Some Gaussians of it."""
        return SplatRecord(
            self.means[rows], self.quats[rows], self.log_scales[rows], self.opacity_logits[rows], self.sh0[rows],
            self.shN[rows], self.antialiased, self.surfels, self.placement,
        )  # fmt: skip

    @property
    def sh_degree(self) -> int:
        """Degree of the colours, 0 to 3."""
        return SH_COUNTS.index(self.shN.shape[1])


def joined(records: Sequence[SplatRecord]) -> SplatRecord:
    """One scene of several in one frame, with harmonics of the highest degree and the placement of the first.

    Raises:
        ValueError: None at all, or some antialiased or 2D and others not.
    """
    if len({(record.antialiased, record.surfels) for record in records}) != 1:
        raise ValueError(
            "scenes of different kinds (antialiased, 2D or not) are not drawn alike; join those of one kind"
        )
    k = max(record.shN.shape[1] for record in records)
    parts = {name: [getattr(record, name) for record in records] for name in ARRAYS}
    parts["shN"] = [np.pad(shN, ((0, 0), (0, k - shN.shape[1]), (0, 0))) for shN in parts["shN"]]
    means, quats, log_scales, opacity_logits, sh0, shN = (np.concatenate(parts[name]) for name in ARRAYS)
    first = records[0]
    return SplatRecord(
        means, quats, log_scales, opacity_logits, sh0, shN, first.antialiased, first.surfels, first.placement
    )


def refuse_rows(name: str, wrong: Bool[np.ndarray, "N ..."], why: str) -> None:
    """Raises ValueError that names the first row with something wrong, if there is one."""
    if wrong.any():
        bad = wrong.any(axis=tuple(range(1, wrong.ndim)))
        raise ValueError(f"{name} of row {int(bad.argmax())} {why} ({int(bad.sum())} such rows)")
