"""A patterned ball of radius 0.8 around the origin, ray-cast exactly, as scenes in memory for any lens."""

import numpy as np
import torch
from jaxtyping import Float64, UInt8

from neural.cameras import CAMERA_MODELS, Cameras
from neural.poses import look_at
from neural.scenes.capture import Points
from neural.scenes.images import ImageStack
from neural.scenes.scene import Scene

RADIUS = 0.8
FOCAL = 1.1  # of the image's width
LENSES = {
    "pinhole": [0.0] * 8,
    "opencv": [-0.25, 0.06, 0.01, -0.01, 0.0, 0.0, 0.0, 0.0],
    "fisheye": [0.05, -0.02, 0.004, 0.0, 0.0, 0.0, 0.0, 0.0],
}


def shade(eye: Float64[np.ndarray, "3"], rays: Float64[np.ndarray, "H W 3"], *, world: bool) -> UInt8[np.ndarray, "*"]:
    """uint8 [H, W, 3] with a sky, or [H, W, 4] on nothing; `rays` of length 1."""
    along = rays @ eye
    inside = along**2 - (eye @ eye - RADIUS**2)
    hit = inside > 0
    normal = (eye + (-along - np.sqrt(np.maximum(inside, 0)))[..., None] * rays) / RADIUS
    sky = 0.5 + 0.3 * np.sin(rays * np.array([2.0, 3.0, 2.5]))
    colour = np.where(hit[..., None], pattern(normal), sky if world else 0.0)
    if not world:
        colour = np.concatenate([colour, hit[..., None]], axis=-1)
    return (colour * 255 + 0.5).astype(np.uint8)


def pattern(normal: Float64[np.ndarray, "*B 3"]) -> Float64[np.ndarray, "*B 3"]:
    """sRGB of the ball's surface."""
    return 0.5 + 0.4 * np.sin(normal * np.array([5.0, 4.0, 6.0]) + np.array([0.0, 1.0, 2.0]))


def eyes(n: int) -> Float64[np.ndarray, "N 3"]:
    """Places of `n` cameras on a wavy ring."""
    azimuth = 2 * np.pi * np.arange(n) / n
    return 2.6 * np.stack([np.cos(azimuth), np.sin(azimuth), 0.35 * np.sin(3 * azimuth)], axis=-1)


def surface(n: int) -> Points:
    """`n` points of the ball, coloured as it is."""
    rng = np.random.default_rng(7)
    normals = rng.normal(size=(n, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return Points(RADIUS * normals, (255 * pattern(normals)).astype(np.uint8))


def scene(
    *,
    n: int = 12,
    size: tuple[int, int] = (48, 36),
    world: bool = False,
    lens: str = "pinhole",
    points: int | None = None,
    masks: bool = False,
) -> Scene:
    """`n` photographs of the ball, every 4th held out.

    Args:
        n: Photographs.
        size: Width and height.
        world: Opaque, with a sky; without it RGBA.
        lens: One of `LENSES`.
        points: Of the surface; None for a capture without a cloud.
        masks: Paint the left third of every photograph red, and mask it out.
    """
    width, height = size
    up = np.array([0.0, 0.0, 1.0])
    c2w = torch.from_numpy(np.stack([look_at(eye, np.zeros(3), up) for eye in eyes(n)]))
    cameras = Cameras(
        c2w, torch.tensor([[FOCAL * width, FOCAL * width, width / 2, height / 2]] * n, dtype=torch.float64),
        torch.tensor([size] * n), torch.full((n,), CAMERA_MODELS.index(lens)),
        torch.tensor([LENSES[lens]] * n, dtype=torch.float64),
    )  # fmt: skip
    rows, cols = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    pixels = torch.stack([cols, rows], -1).reshape(-1, 2).double()
    images = []
    for i in range(n):
        rays = cameras.directions(torch.full((len(pixels),), i), pixels)
        image = shade(c2w[i, :3, 3].numpy(), rays.double().numpy().reshape(height, width, 3), world=world)
        if masks:
            image[:, : width // 3, :3] = (255, 0, 0)
        images.append(image)
    seen = np.full((height, width), 255, np.uint8)
    seen[:, : width // 3] = 0
    held_out = tuple(range(0, n, 4)) if n > 1 else ()
    return Scene(
        name="ball", path=None, cameras=cameras, images=ImageStack.from_arrays(images),
        masks=ImageStack.from_arrays([seen] * n) if masks else None, image_names=tuple(f"{i:03d}" for i in range(n)),
        splits={"train": tuple(i for i in range(n) if i not in held_out), "test": held_out},
        points=None if points is None else surface(points),
        aabb=torch.tensor([[-1.0] * 3, [1.0] * 3], dtype=torch.float64), world_to_scene=np.eye(4), unbounded=world,
    )  # fmt: skip
