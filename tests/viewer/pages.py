"""A small generated scene, what our own renderer makes of it, and what a browser's page shows."""

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from neural.cameras import Cameras
from neural.gaussians.model import Gaussians
from neural.render.splats import render_camera
from neural.scenes.files.gaussians.record import SH_C0, SH_COUNTS, SplatRecord
from neural.viewer.page import write_page

WIDTH, HEIGHT = 320, 180
NEAR = 0.01


def generated(n: int = 3000, *, degree: int = 3, seed: int = 0, antialiased: bool = False) -> SplatRecord:
    """A ball of flat Gaussians on a chequered ground, y down; harmonics change colours with the direction."""
    random = np.random.default_rng(seed)
    on_ball = random.normal(size=(n // 2, 3))
    on_ball /= np.linalg.norm(on_ball, axis=1, keepdims=True)
    ground = np.column_stack(
        [random.uniform(-2, 2, n - n // 2), np.ones(n - n // 2), random.uniform(-2, 2, n - n // 2)]
    )
    means = np.concatenate([on_ball, ground]).astype(np.float32)
    normals = np.concatenate([on_ball, np.tile([0.0, 1.0, 0.0], (len(ground), 1))])
    chequers = (np.floor(ground[:, :1] * 1.5) + np.floor(ground[:, 2:] * 1.5)) % 2
    colors = np.concatenate([0.5 + 0.4 * on_ball, 0.2 + 0.6 * np.tile(chequers, (1, 3))])
    widths = random.uniform(0.03, 0.11, (n, 2)) * math.sqrt(3000 / max(n, 3000))  # as many lie one behind the other
    shN = random.normal(size=(n, SH_COUNTS[degree], 3)) * 0.03
    if degree:
        shN[: n // 2, 1] += [0.5, 0.0, -0.5]  # red from one side, blue from the other
    return SplatRecord(
        means=means, quats=_turned(normals, random), antialiased=antialiased,
        log_scales=np.log(np.column_stack([widths, np.full(n, 0.008)])).astype(np.float32),
        opacity_logits=random.normal(2.0, 1.0, n).astype(np.float32),
        sh0=((colors - 0.5) / SH_C0).astype(np.float32), shN=shN.astype(np.float32),
    )  # fmt: skip


def ring(count: int = 4, *, width: int = WIDTH, height: int = HEIGHT, about: tuple[float, ...] = (0, 0, 0)) -> Cameras:
    """Cameras on a circle that look at a point, y down, with a principal point that is not the middle."""
    c2w = np.tile(np.eye(4), (count, 1, 1))
    for pose, angle in zip(c2w, np.linspace(0, 2 * math.pi, count, endpoint=False) + 0.3, strict=True):
        forward = np.array([math.sin(angle), 0.3, math.cos(angle)])
        forward /= np.linalg.norm(forward)
        right = np.cross([0.0, 1.0, 0.0], forward)
        right /= np.linalg.norm(right)
        pose[:3, :3] = np.column_stack([right, np.cross(forward, right), forward])
        pose[:3, 3] = np.asarray(about) - 4.0 * forward
    focal = 1.1 * height
    intrinsics = torch.tensor([[focal, 1.05 * focal, 0.47 * width, 0.53 * height]] * count, dtype=torch.float64)
    return Cameras.pinhole(torch.from_numpy(c2w), intrinsics, torch.tensor([[width, height]] * count))


def rendered(record: SplatRecord, cameras: Cameras, index: int, grey: float = 0.0) -> Float[np.ndarray, "H W 3"]:
    """Our own picture on the CPU, sRGB in [0, 1]."""
    width, height = cameras.sizes[index].tolist()
    picture = render_camera(Gaussians.from_record(record), cameras, index, background=torch.full((3,), grey), near=NEAR)
    return picture.rgb.reshape(height, width, 3).clamp(0, 1).numpy()


def shown(page: Any) -> Float[np.ndarray, "H W 3"]:
    """What stands on the screen, sRGB in [0, 1]."""
    with Image.open(io.BytesIO(page.screenshot())) as picture:
        return np.asarray(picture.convert("RGB"), dtype=np.float64) / 255


def psnr(a: Float[np.ndarray, "H W 3"], b: Float[np.ndarray, "H W 3"]) -> float:
    """Decibels; equal pictures give infinity."""
    with np.errstate(divide="ignore"):
        return float(-10 * np.log10(np.square(a - b).mean()))


def written(folder: Path, record: SplatRecord, cameras: Cameras | None, **options: Any) -> str:
    """A page of a scene; its address."""
    return write_page(folder / "page.html", record, cameras=cameras, near=NEAR, **options).as_uri()


def _turned(normals: Float[np.ndarray, "N 3"], random: np.random.Generator) -> Float[np.ndarray, "N 4"]:
    """Quaternions that turn z to the normals, and somehow about them."""
    z = np.array([0.0, 0.0, 1.0])
    quats = np.column_stack([1 + normals @ z, np.cross(z, normals)])
    quats[np.linalg.norm(quats, axis=1) < 1e-6] = [0, 1, 0, 0]
    quats /= np.linalg.norm(quats, axis=1, keepdims=True)
    half = random.uniform(0, math.pi, len(normals))
    w, x, y, s = quats[:, 0], quats[:, 1], quats[:, 2], np.sin(half)
    c = np.cos(half)  # times a turn about z first
    turned = [w * c, x * c + y * s, y * c - x * s, w * s]
    return np.column_stack(turned).astype(np.float32)
