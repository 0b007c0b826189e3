"""One reconstruction of the corner for all tests: odd names, sub-folders, turned cameras, GPS, files of no use."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter, ImageOps

from neural.reconstruction import Reconstruction, reconstruct
from neural.train.tasks.capture.config import RunConfig
from neural.train.tasks.splats.config import SplatsConfig
from tests.scenes.photographs import corner

STEPS = 30
TURNED = (3, 4, 5)  # photographs stored lying on their side, with EXIF that says so
BAD = {"empty.jpg": "empty", "no picture.jpg": "not an image", "cut.jpg": "truncated", "été 9.jpg": "the same file",
       "blurred.jpg": "blurred", "again.png": "the same picture"}  # fmt: skip


@dataclass(frozen=True)
class Corner:
    """Photographs on disk, and where each was taken."""

    folder: Path
    c2w: dict[str, np.ndarray]


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Corner:
    """Eight good photographs among six bad ones, with a mask for one."""
    folder = tmp_path_factory.mktemp("corner") / "my photographs"
    taken = {}
    for index, shot in enumerate(corner.shots(8)):
        name = f"été {index // 4}/photo {index}.jpg"
        corner.save(shot, folder / name, orientation=6 if index in TURNED else 1)
        taken[name] = shot.c2w
    first = folder / "été 0/photo 0.jpg"
    (folder / "empty.jpg").touch()
    (folder / "no picture.jpg").write_text("hello")
    (folder / "cut.jpg").write_bytes(first.read_bytes()[:9000])
    shutil.copy(first, folder / "été 9.jpg")
    ImageOps.mirror(Image.open(first)).filter(ImageFilter.GaussianBlur(4)).save(folder / "blurred.jpg")
    Image.open(first).save(folder / "again.png")
    mask = np.full((corner.HEIGHT, corner.WIDTH), 255, dtype=np.uint8)
    mask[:, :40] = 0
    (folder / "masks" / "été 0").mkdir(parents=True)
    Image.fromarray(mask).save(folder / "masks" / "été 0" / "photo 1.png")
    return Corner(folder, taken)


@pytest.fixture(scope="session")
def reconstructed(photographs: Corner, tmp_path_factory: pytest.TempPathFactory) -> Reconstruction:
    """The whole way once, with a training that only shows that it runs."""
    pytest.importorskip("pycolmap")
    config = SplatsConfig(run=RunConfig(steps=STEPS, device="cpu", downscale=4))
    out = tmp_path_factory.mktemp("runs") / "corner run"
    return reconstruct(photographs.folder, out=out, config=config, progress=False)
