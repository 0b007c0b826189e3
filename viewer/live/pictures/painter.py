"""Makes the picture of an order: in bands, so that it can be given up when the camera moves on."""

import math
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float32, UInt8

from neural.cameras import Cameras
from neural.train.film import to_bytes
from neural.viewer.live.client import Order
from neural.viewer.live.pictures.modes import MODES, Seen, directions
from neural.viewer.live.pictures.resolution import MOST, Resolution, size_of
from neural.viewer.live.subjects.subject import Subject, never

BAND = 0.1  # seconds between two looks at whether the camera has moved on
MOST_BANDS = 12
DEPTH_PIXELS = 160 * 90  # of the depths that hide things, about
FAR_AWAY = 160.0  # units of the browser: depth where there is nothing


class Picture(NamedTuple):
    """What is sent.

    Attributes:
        rgb: sRGB.
        depth: Along the optical axis, units of the browser; None if nothing need be hidden.
        psnr: Against what was trained on, as seen from here, dB, where that is compared.
    """

    rgb: UInt8[np.ndarray, "H W 3"]
    depth: Float32[np.ndarray, "h w"] | None
    psnr: float | None


class Painter:
    """Pictures of a subject, and what they cost.

    Args:
        clock: Seconds that have passed.
    """

    def __init__(self, *, clock: Callable[[], float] = time.perf_counter) -> None:
        self.resolution = Resolution()
        self._clock = clock

    def paint(self, subject: Subject, order: Order, *, most_seconds: float | None = None) -> Picture | None:
        """The picture, or None where it was given up.

        Args:
            subject: What is looked at.
            order: From where and how.
            most_seconds: That it may take, about.
        """
        began = self._clock()
        size = self.size(order, most_seconds)
        camera = order.viewpoint.camera(subject.frame, size)
        mode, cut = MODES[order.wish.mode], order.wish.cut
        bands, stale = self._bands(camera, order)
        layers = subject.layers(camera, cut, clusters=mode.clusters, bands=bands, stale=stale)
        if layers is None:
            return None
        truth = covered = None
        if mode.compares and subject.truth is not None:
            truth, covered = subject.truth.seen_by(camera, cut, bands=bands, stale=stale)
            if stale():
                return None
        seen = Seen(layers, camera, truth, covered)
        rgb = to_bytes(mode.paint(seen))
        depth = _depth(seen, subject.frame.unit) if order.wish.occlusion else None
        psnr = None
        if truth is not None and covered is not None and bool(covered.any()):
            square = (layers.rgb.clamp(0, 1) - truth)[covered].square().mean()
            psnr = -10 * math.log10(max(float(square), 1e-12))
        self.resolution.measured(size[0] * size[1], self._clock() - began)
        return Picture(rgb, depth, psnr)

    def size(self, order: Order, most_seconds: float | None = None) -> tuple[int, int]:
        """Width and height of the picture that will be made."""
        window = order.viewpoint.width, order.viewpoint.height
        full = min(MOST, max(1, round(window[0] * window[1] * order.wish.scale**2)))
        pixels = self.resolution.moving(full) if order.level == "moving" else full
        if most_seconds is not None:
            pixels = min(pixels, self.resolution.within(most_seconds))
        return size_of(pixels, *window)

    def _bands(self, camera: Cameras, order: Order) -> tuple[int, Callable[[], bool]]:
        """Bands that take about `BAND`, where the camera rests, and what ends them; what is quick is not given up."""
        if order.level == "moving":
            return 1, never
        expected = self.resolution.seconds(float(camera.sizes[0].prod()))
        height = int(camera.sizes[0, 1])
        return min(MOST_BANDS, height, max(1, math.ceil(expected / BAND))), order.stale


def _depth(seen: Seen, unit: float) -> Float32[np.ndarray, "h w"]:
    """Depths along the axis of about `DEPTH_PIXELS` pixels, where something is."""
    height, width = seen.layers.alpha.shape
    step = max(1, round(math.sqrt(width * height / DEPTH_PIXELS)))
    half = step // 2
    distance = seen.distance[half::step, half::step]
    axis = seen.camera.c2w[0, :3, 2].float()
    cosine = (directions(seen.camera)[half::step, half::step] * axis).sum(-1)
    opaque = seen.layers.alpha[half::step, half::step] > 0.5
    return torch.where(opaque, distance * cosine / unit, FAR_AWAY).clamp(0, FAR_AWAY).numpy()
