"""A scene that goes through a file looks as it did: what is lost is no more than the format's steps."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from neural.cameras import Cameras
from neural.gaussians.model import Gaussians
from neural.metrics import psnr
from neural.poses import look_at
from neural.render.splats import render_camera
from neural.scenes.files.gaussians import formats
from neural.scenes.files.gaussians.ply import plain_ply
from neural.scenes.files.gaussians.record import SplatRecord
from tests.splat_files import made

# Decibels between the pictures before and after; a .splat has one colour from everywhere.
LEAST = {".ply": 100.0, ".spz": 36.0, ".compressed.ply": 40.0, ".sog": 40.0, ".splat": 38.0}
LEAST |= {".glb": 80.0, ".usdc": 80.0, ".usda": 80.0}


def _picture(record: SplatRecord, eye: tuple[float, float, float], up: tuple[float, float, float]) -> torch.Tensor:
    c2w = torch.from_numpy(look_at(np.array(eye), np.zeros(3), np.array(up)))[None]
    lens = torch.tensor([[90.0, 90.0, 48.0, 32.0]], dtype=torch.float64)
    size = torch.tensor([[96, 64]])
    cameras = Cameras(c2w, lens, size, torch.tensor([0]), torch.zeros(1, 8, dtype=torch.float64))
    with torch.no_grad():
        shown = render_camera(Gaussians.from_record(record), cameras, 0, background=torch.ones(3), near=0.01)
    return shown.rgb.reshape(64, 96, 3)


def _scene(degree: int) -> SplatRecord:
    plain = made(400, degree)
    # some harmonics are shared, as they are in scenes that are large beside their palette
    return replace(
        plain, means=plain.means / 3, log_scales=plain.log_scales * 0.4 - 2.5, shN=plain.shN[np.arange(400) % 100]
    )


@pytest.mark.parametrize("ending", formats.ENDINGS)
def test_it_looks_the_same_from_all_sides(tmp_path: Path, ending: str) -> None:
    """Axes, rotations and colours at once: a flip left out anywhere gives less than 25 dB."""
    record = _scene(0 if ending == ".splat" else 3)
    formats.write(tmp_path / f"a{ending}", record)
    again = formats.read(tmp_path / f"a{ending}")
    for eye, up in (((3, 1, -2), (0, -1, 0)), ((-2, -2, 3), (1, 0, 0)), ((0.5, -3, 0), (0, 0, 1))):
        before, after = _picture(record, eye, up), _picture(again, eye, up)
        assert before.std() > 0.1
        assert psnr(after, before) > LEAST[ending]


def test_files_of_other_writers_show_one_scene(neural_data: Path) -> None:
    """A person in three formats, two of them packed from different sources."""
    splats = neural_data / "splats"
    first = plain_ply.read(splats / "biker.ply")
    pytest.importorskip("zstandard", reason="SPZ of version 4 needs zstandard: pip install 'neural[splats]'")
    for name in ("biker.compressed.ply", "biker.spz"):
        middle = first.means.mean(axis=0)
        one, other = (replace(r, means=r.means - middle) for r in (first, formats.read(splats / name)))
        assert psnr(*(_picture(r, (2.5, -1.0, -2.5), (0, -1, 0)) for r in (other, one))) > 38
