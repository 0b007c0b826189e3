"""Metres and a place on the Earth from the GPS of photographs: local east, north, up, and a similarity that takes a
reconstruction there.

GPS of cameras errs by metres, now and then by much more, and in height more than on the ground (some drones drift by
a hundred metres in one flight). So the fit is robust, and heights decide about the tilt only where they agree as well
as the ground does; else the tilt is that of the cameras themselves.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

_A, _F = 6378137.0, 1 / 298.257223563  # WGS 84
_E2 = _F * (2 - _F)
FEWEST = 3  # places that make a fit
_LEAST_SPREAD = 2.0  # times the residual: below this a fit says nothing
_HEIGHT = 1 / 3  # weight of a height beside that of a place on the ground
_TILT = 15.0  # degrees between the zenith of heights and that of the cameras; beyond it heights drift, most likely
_ROUNDS = 50


@dataclass(frozen=True)
class Origin:
    """Where the local frame has its zero: latitude and longitude in degrees, height in metres above the ellipsoid as
    the cameras take it (many write heights above the sea, which GPS receivers do not tell)."""

    latitude: float
    longitude: float
    height: float

    @property
    def crs(self) -> str:
        """The local frame as PROJ says it: metres east, north and up."""
        return f"+proj=topocentric +ellps=WGS84 +lat_0={self.latitude!r} +lon_0={self.longitude!r} +h_0={self.height!r}"

    @property
    def utm(self) -> str:
        """The UTM zone that the origin lies in, by its number of EPSG."""
        zone = min(60, int((self.longitude + 180) / 6) + 1)
        return f"EPSG:{(32600 if self.latitude >= 0 else 32700) + zone}"

    def enu(self, gps: Float64[np.ndarray, "N 3"]) -> Float64[np.ndarray, "N 3"]:
        """Metres east, north, up of latitudes and longitudes in degrees with heights; NaN stays NaN.

        Source: Torge and Müller 2012, "Geodesy", 4.1 (geodetic to Cartesian) and 4.1.4 (to the local frame).
        """
        here = _cartesian(np.array([[self.latitude, self.longitude, self.height]]))[0]
        phi, lam = math.radians(self.latitude), math.radians(self.longitude)
        east = [-math.sin(lam), math.cos(lam), 0.0]
        north = [-math.sin(phi) * math.cos(lam), -math.sin(phi) * math.sin(lam), math.cos(phi)]
        up = [math.cos(phi) * math.cos(lam), math.cos(phi) * math.sin(lam), math.sin(phi)]
        heights = np.where(np.isfinite(gps[:, 2]), gps[:, 2], self.height)
        local = (_cartesian(np.column_stack([gps[:, :2], heights])) - here) @ np.array([east, north, up]).T
        local[~np.isfinite(gps[:, 2]), 2] = np.nan
        return local


@dataclass(frozen=True)
class Fit:
    """A similarity from a reconstruction to metres, and how well GPS agrees with it.

    Attributes:
        similarity: 4 x 4.
        horizontal: Metres by which each photograph misses its GPS on the ground.
        vertical: And in height; NaN where no height was written.
        heights_used: Whether heights decided about the tilt.
    """

    similarity: Float64[np.ndarray, "4 4"]
    horizontal: Float64[np.ndarray, "N"]
    vertical: Float64[np.ndarray, "N"]
    heights_used: bool

    @property
    def scale(self) -> float:
        """Metres per unit of the reconstruction."""
        return float(np.cbrt(np.linalg.det(self.similarity[:3, :3])))


def origin_of(gps: Float64[np.ndarray, "N 3"]) -> Origin:
    """In the middle of some places, in round numbers."""
    height = float(np.nanmedian(gps[:, 2])) if np.isfinite(gps[:, 2]).any() else 0.0
    return Origin(round(float(np.median(gps[:, 0])), 6), round(float(np.median(gps[:, 1])), 6), round(height, 1))


def fit(
    centres: Float64[np.ndarray, "N 3"], local: Float64[np.ndarray, "N 3"], ups: Sequence[Float64[np.ndarray, "3"]]
) -> Fit | None:
    """The similarity from camera centres to their places in metres; None where GPS says too little.

    Args:
        centres: Of the reconstruction.
        local: East, north, up; heights may be NaN.
        ups: Directions that may be up in the reconstruction, tried one after the other.
    """
    if len(centres) < FEWEST:
        return None
    levelled = [found for up in ups if (found := _levelled(centres, local, up)) is not None]
    if not levelled:
        return None
    best = min(levelled, key=lambda found: float(np.median(found.horizontal)))
    if np.isfinite(local).all():
        free = _refined(centres, local, best.similarity)
        across, before = float(np.median(free.horizontal)), float(np.median(best.horizontal))
        agree = float(np.median(free.vertical)) <= 2 * across + 0.5 and across <= 1.1 * before + 0.1
        tilt = math.degrees(math.acos(np.clip(_up_of(free) @ _up_of(best), -1, 1)))
        if agree and (tilt < _TILT or across < before / 3):
            best = free
    spread = float(np.sqrt(((local[:, :2] - local[:, :2].mean(axis=0)) ** 2).sum(axis=1).mean()))
    return best if spread > _LEAST_SPREAD * float(np.median(best.horizontal)) and best.scale > 0 else None


def _levelled(centres: np.ndarray, local: np.ndarray, up: np.ndarray) -> Fit | None:
    """The best similarity that takes `up` to the zenith: a turn, a scale and a shift on the ground, then the height."""
    turned = level(up)
    flat = centres @ turned.T
    source, target = flat[:, 0] + 1j * flat[:, 1], local[:, 0] + 1j * local[:, 1]
    found = _robust_plane(source, target)
    if found is None:
        return None
    factor, shift = found
    scale, angle = abs(factor), np.angle(factor)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    similarity = np.eye(4)
    similarity[:3, :3] = scale * turn @ turned
    rise = local[:, 2] - scale * flat[:, 2]
    similarity[:3, 3] = shift.real, shift.imag, float(np.nanmedian(rise)) if np.isfinite(rise).any() else 0.0
    return _judged(similarity, centres, local, heights_used=False)


def _robust_plane(source: np.ndarray, target: np.ndarray) -> tuple[complex, complex] | None:
    """`target = factor source + shift` over complex numbers: the pair of places that most agree with, then Cauchy
    weights. All pairs of up to 60 places are tried, a fixed choice of more."""
    chosen = np.unique(np.linspace(0, len(source) - 1, 60).astype(int))
    best, least = None, math.inf
    for i, a in enumerate(chosen):
        others = chosen[i + 1 :]
        others = others[(np.abs(source[others] - source[a]) > 1e-9) & (np.abs(target[others] - target[a]) > 1e-6)]
        if not len(others):
            continue
        factors = (target[others] - target[a]) / (source[others] - source[a])
        shifts = target[a] - factors * source[a]
        misses = np.median(np.abs(factors[:, None] * source + shifts[:, None] - target), axis=1)
        k = int(np.argmin(misses))
        if misses[k] < least:
            best, least = (factors[k], shifts[k]), float(misses[k])
    if best is None:
        return None
    factor, shift = best
    for _ in range(_ROUNDS):
        miss = np.abs(factor * source + shift - target)
        weights = 1 / (1 + (miss / max(1.5 * float(np.median(miss)), 1e-6)) ** 2)
        middle, goal = np.average(source, weights=weights), np.average(target, weights=weights)
        spread = float((weights * np.abs(source - middle) ** 2).sum())
        if spread < 1e-18:
            return None
        factor = (weights * np.conj(source - middle) * (target - goal)).sum() / spread
        shift = goal - factor * middle
    return complex(factor), complex(shift)


def _refined(centres: np.ndarray, local: np.ndarray, start: np.ndarray) -> Fit:
    """All seven numbers free: Gauss-Newton with Cauchy weights, heights counting less."""
    scale = float(np.cbrt(np.linalg.det(start[:3, :3])))
    rotation, shift = start[:3, :3] / scale, start[:3, 3].copy()
    sigma = np.array([1.0, 1.0, _HEIGHT])
    for _ in range(_ROUNDS):
        turned = scale * centres @ rotation.T
        residual = (local - turned - shift) * sigma
        miss = np.linalg.norm(residual, axis=1)
        root = 1 / np.sqrt(1 + (miss / max(1.5 * float(np.median(miss)), 1e-6)) ** 2)
        jacobian = np.zeros((len(centres), 3, 7))
        jacobian[:, :, 0] = turned
        jacobian[:, :, 1:4] = -_cross(turned)
        jacobian[:, :, 4:] = np.eye(3)
        weighted = (jacobian * sigma[:, None] * root[:, None, None]).reshape(-1, 7)
        step = np.linalg.lstsq(weighted, (residual * root[:, None]).ravel(), rcond=1e-9)[0]
        scale *= math.exp(float(np.clip(step[0], -0.5, 0.5)))
        rotation = _rotation(step[1:4]) @ rotation
        shift = shift + step[4:]
        if np.abs(step).max() < 1e-9:
            break
    similarity = np.eye(4)
    similarity[:3, :3], similarity[:3, 3] = scale * rotation, shift
    return _judged(similarity, centres, local, heights_used=True)


def _judged(similarity: np.ndarray, centres: np.ndarray, local: np.ndarray, *, heights_used: bool) -> Fit:
    miss = centres @ similarity[:3, :3].T + similarity[:3, 3] - local
    return Fit(similarity, np.linalg.norm(miss[:, :2], axis=1), np.abs(miss[:, 2]), heights_used)


def _up_of(found: Fit) -> np.ndarray:
    """The zenith in the reconstruction."""
    return found.similarity[2, :3] / found.scale


def _cartesian(gps: np.ndarray) -> np.ndarray:
    phi, lam, height = np.radians(gps[:, 0]), np.radians(gps[:, 1]), gps[:, 2]
    across = _A / np.sqrt(1 - _E2 * np.sin(phi) ** 2)
    return np.stack(
        [
            (across + height) * np.cos(phi) * np.cos(lam),
            (across + height) * np.cos(phi) * np.sin(lam),
            (across * (1 - _E2) + height) * np.sin(phi),
        ],
        axis=1,
    )


def level(up: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "3 3"]:
    """A rotation that takes `up` to +z."""
    up = up / np.linalg.norm(up)
    seed = np.cross(up, np.eye(3)[np.argmin(np.abs(up))])
    x = seed / np.linalg.norm(seed)
    return np.stack([x, np.cross(up, x), up])


def _cross(vectors: np.ndarray) -> np.ndarray:
    x, y, z = vectors.T
    zero = np.zeros_like(x)
    return np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=1).reshape(-1, 3, 3)


def _rotation(vector: np.ndarray) -> np.ndarray:
    """The rotation about a vector by its length (Rodrigues)."""
    angle = float(np.linalg.norm(vector))
    if angle < 1e-12:
        return np.eye(3)
    cross = _cross(vector[None] / angle)[0]
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross
