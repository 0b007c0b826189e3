"""Small captures with known geometry: a patterned ball, seen from a ring of cameras; ray-cast exactly."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from neural.poses import look_at
from tests.ball import FOCAL, eyes, shade

OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])
# A field and a sampling small enough for hundreds of steps in a second or two.
SMALL = {
    "model.n-levels": 4, "model.log2-hashmap-size": 12, "model.base-resolution": 8, "model.finest-resolution": 64,
    "model.density-width": 16, "model.color-width": 16, "model.color-layers": 1,
    "sampling.target-samples": 4096, "sampling.initial-rays": 256, "sampling.max-rays": 1024,
    "sampling.steps-per-box": 64, "sampling.occupancy-resolution": 16, "sampling.occupancy-interval": 4,
    "sampling.occupancy-warmup": 12, "optim.warmup-steps": 10, "device": "cpu", "log-every": 1,
}  # fmt: skip
# Few Gaussians, which come and go from the first steps on.
SMALL_SPLATS = {
    "model.max-gaussians": 300, "model.init-gaussians": 150, "model.sh-degree": 1, "densify.start": 5,
    "densify.every": 5, "optim.coarse": 2, "device": "cpu", "log-every": 1,
}  # fmt: skip

WriteCapture = Callable[..., Path]


@pytest.fixture(scope="session")
def small() -> list[str]:
    """Flags of a training of a few milliseconds per step."""
    return [text for name, value in SMALL.items() for text in (f"--{name}", str(value))]


@pytest.fixture(scope="session")
def small_splats() -> list[str]:
    """Flags of a training of splats of a few milliseconds per step."""
    return [text for name, value in SMALL_SPLATS.items() for text in (f"--{name}", str(value))]


@pytest.fixture(scope="session")
def write_capture() -> WriteCapture:
    """Writes a capture (nerfstudio's form) to a folder: see `_write`."""
    return _write


def _write(
    folder: Path,
    *,
    n: int = 12,
    size: tuple[int, int] = (48, 36),
    world: bool = False,
    masks: bool = False,
    turned: float = 0.0,
) -> Path:
    """`n` pictures of a ball of radius 0.8 around the origin; every 4th is held out.

    Args:
        folder: Created.
        n: Pictures.
        size: Width and height.
        world: Opaque pictures with a sky around the ball, an unbounded scene; without it they are RGBA, in a
            box [-1, 1]^3.
        masks: Also paint the left third of every picture red, and mask it out.
        turned: Standard deviation, radians, of wrong turns written into the poses.
    """
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(5)
    frames = []
    for index, eye in enumerate(eyes(n)):
        c2w = look_at(eye, np.zeros(3), np.array([0.0, 0.0, 1.0]))
        image = picture(c2w, size, world=world)
        frame = {"file_path": f"images/{index:03d}.png"}
        if masks:
            image[:, : size[0] // 3, :3] = (255, 0, 0)
            mask = np.full(size[::-1], 255, np.uint8)
            mask[:, : size[0] // 3] = 0
            (folder / "masks").mkdir(exist_ok=True)
            Image.fromarray(mask).save(folder / "masks" / f"{index:03d}.png")
            frame["mask_path"] = f"masks/{index:03d}.png"
        Image.fromarray(image).save(folder / frame["file_path"])
        pose = c2w @ turn(rng.normal(size=3) * turned) @ OPENGL
        frames.append({**frame, "transform_matrix": pose.tolist()})
    width, height = size
    names = [frame["file_path"] for frame in frames]
    document = {
        "camera_model": "PINHOLE", "fl_x": FOCAL * width, "fl_y": FOCAL * width, "cx": width / 2, "cy": height / 2,
        "w": width, "h": height,
        "train_filenames": [name for i, name in enumerate(names) if i % 4],
        "test_filenames": names[::4], "frames": frames,
    }  # fmt: skip
    if not world:
        document["aabb"] = [[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]]
    (folder / "transforms.json").write_text(json.dumps(document))
    return folder


def picture(c2w: np.ndarray, size: tuple[int, int], *, world: bool) -> np.ndarray:
    """uint8 [H, W, 3] with a sky, or [H, W, 4] on nothing."""
    width, height = size
    cols, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    local = np.stack(
        [(cols - width / 2) / (FOCAL * width), (rows - height / 2) / (FOCAL * width), np.ones_like(cols)], axis=-1
    )
    rays = local @ c2w[:3, :3].T
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    return shade(c2w[:3, 3], rays, world=world)


def turn(vector: np.ndarray) -> np.ndarray:
    """Rotation about a vector, [4, 4], by powers of the cross-product matrix: enough terms for small angles."""
    x, y, z = vector
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    turned, power = np.eye(3), np.eye(3)
    for k in range(1, 20):
        power = power @ cross / k
        turned = turned + power
    result = np.eye(4)
    result[:3, :3] = turned
    return result
