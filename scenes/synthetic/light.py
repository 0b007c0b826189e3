"""Daylight: a sun with hard shadows, a clear sky that fills them, and light thrown back by the ground."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64

from neural.scenes.synthetic.facades import Paint
from neural.scenes.synthetic.primitives import to_srgb


@dataclass(frozen=True)
class Daylight:
    """A clear day.

    Args:
        azimuth: Where the sun stands, degrees from +x towards +y.
        elevation: Height of the sun above the horizon, degrees in (0, 90].
        sun: Linear colour of sunlight on a surface that faces it.
        sky: Linear colour of skylight on an open level surface.
        exposure: Factor from linear light to the picture.
    """

    azimuth: float = 232.0
    elevation: float = 47.0
    sun: tuple[float, float, float] = (1.75, 1.58, 1.30)
    sky: tuple[float, float, float] = (0.50, 0.61, 0.80)
    exposure: float = 0.92

    def __post_init__(self) -> None:
        if not 0.0 < self.elevation <= 90.0:
            raise ValueError(f"Daylight.elevation must be in (0, 90] degrees, got {self.elevation}")

    @cached_property
    def towards_sun(self) -> Float64[np.ndarray, "3"]:
        """Unit vector to the sun."""
        a, e = np.radians(self.azimuth), np.radians(self.elevation)
        return np.array([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)])

    def sky_colour(self, directions: Float[np.ndarray, "N 3"]) -> Float32[np.ndarray, "N 3"]:
        """Linear colour of the sky in unit directions; below the horizon a grey ground."""
        z = directions[:, 2:].astype(np.float32)
        height = np.clip(z, 0.0, 1.0) ** 0.55
        horizon, zenith = np.array([0.86, 0.93, 1.0], np.float32), np.array([0.20, 0.38, 0.80], np.float32)
        colour = horizon + (zenith - horizon) * height
        near_sun = np.clip(directions @ self.towards_sun, 0.0, 1.0).astype(np.float32)[:, None]
        colour = colour + np.array([0.5, 0.42, 0.3], np.float32) * near_sun**12
        fade = np.clip(-z / 0.15, 0.0, 1.0)
        return colour + (np.array([0.26, 0.25, 0.23], np.float32) - colour) * fade

    def shade(
        self,
        paint: Paint,
        normals: Float64[np.ndarray, "N 3"],
        directions: Float64[np.ndarray, "N 3"],
        lit: Bool[np.ndarray, "N"],
        openness: Float32[np.ndarray, "N"],
    ) -> Float32[np.ndarray, "N 3"]:
        """Linear colour of surface points seen along unit `directions`.

        Args:
            paint: The look of the surface.
            normals: World normals, unit, towards the viewer.
            directions: Where the rays go.
            lit: Whether the sun is in view.
            openness: Share of the sky in view, 0-1, besides what the normal hides.
        """
        n = normals.astype(np.float32)
        if paint.bump is not None:
            n = n + paint.bump
            n = n / np.linalg.norm(n, axis=1, keepdims=True)
        facing = np.clip(n @ self.towards_sun.astype(np.float32), 0.0, None) * lit
        upward = 0.5 + 0.5 * n[:, 2]
        sun, sky = np.array(self.sun, np.float32), np.array(self.sky, np.float32)
        bounce = np.float32(0.22) * (0.55 * sun + sky) * np.array([1.0, 0.95, 0.88], np.float32)
        light = facing[:, None] * sun
        light = light + (upward * openness)[:, None] * sky + ((1.0 - upward) * openness)[:, None] * bounce
        colour = paint.albedo * light
        glossy = np.flatnonzero(paint.gloss > 0.0)
        if glossy.size:
            d, m = directions[glossy].astype(np.float32), n[glossy]
            cosine = np.clip(-(d * m).sum(1), 0.0, 1.0)
            mirror = d + 2.0 * cosine[:, None] * m
            fresnel = paint.gloss[glossy] * (0.06 + 0.94 * (1.0 - cosine) ** 5)
            seen = self.sky_colour(mirror) * (0.35 + 0.65 * openness[glossy])[:, None]
            colour[glossy] += fresnel[:, None] * (seen - colour[glossy])
        return colour.astype(np.float32)

    def develop(self, linear: Float[np.ndarray, "*N"]) -> Float[np.ndarray, "*N"]:
        """Linear light to sRGB in [0, 1]: exposure, then a soft shoulder above 0.7."""
        x = np.maximum(linear * self.exposure, 0.0)
        over = np.maximum(x - 0.7, 0.0)
        return to_srgb(np.where(x > 0.7, 0.7 + over / (1.0 + over / 0.3), x))
