"""What a page is told of a scene: enough to see all of it, to the precision of its file."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from neural.cameras import Cameras
from neural.scenes.files.gaussians.record import SplatRecord
from neural.scenes.files.gaussians.spz import spz
from neural.viewer import levels
from neural.viewer.outlook import first_view, outlook
from tests.viewer import pages


def placed(means: np.ndarray) -> SplatRecord:
    """Solid Gaussians at some places."""
    n = len(means)
    record = pages.generated(n, degree=0)
    return replace(record, means=means.astype(np.float32), opacity_logits=np.full(n, 3.0, np.float32))


def test_far_is_beyond_everything_from_everywhere() -> None:
    for far_out in ("Gaussian", "camera"):
        record, cameras = pages.generated(400, degree=0), pages.ring()
        if far_out == "Gaussian":
            record.means[0] = [0, 500, 0]
        else:
            cameras.c2w[0, :3, 3] *= 100
        found = outlook(record, cameras)
        away = np.linalg.norm(cameras.origins.numpy()[:, None] - record.means, axis=2)
        assert 2 * found.reach >= away.max() > 10 * found.extent


def test_a_huge_gaussian_keeps_its_size(tmp_path: Path) -> None:
    """The file holds standard deviations up to 380 of its units."""
    record = pages.generated(400, degree=0)
    record.log_scales[3] = np.log([2000.0, 1500.0, 1.0])
    found = outlook(record, None)
    (tmp_path / "a.spz").write_bytes(levels.as_spz(record, found))
    read = spz.read(tmp_path / "a.spz")
    np.testing.assert_allclose(read.log_scales[3] - np.log(found.scale), record.log_scales[3], atol=1 / 32 + 1e-4)


def test_the_first_view_has_most_of_the_scene_before_it() -> None:
    record = pages.generated(400, degree=0)
    record.means[:] += [10, -20, 30]
    view = first_view(outlook(record, None))
    local = (record.means - view["c2w"][:, 3]) @ view["c2w"][:, :3]
    (fx, fy, cx, cy), (width, height) = view["intrinsics"], view["size"]
    u, v = local[:, 0] / local[:, 2] * fx + cx, local[:, 1] / local[:, 2] * fy + cy
    inside = (local[:, 2] > 0) & (u > 0) & (u < width) & (v > 0) & (v < height)
    assert inside.mean() > 0.9
    assert view["c2w"][1, 3] < -20, "from a little above, y down"
    assert view["focus"] == pytest.approx(np.median(local[:, 2]), rel=0.2)


@pytest.mark.parametrize("up", [(0.0, -1.0, 0.0), (0.0, 0.0, 1.0), (-1.0, 0.0, 0.0), (0.48, -0.6, 0.64)])
def test_the_first_view_is_upright_and_from_above(up: tuple[float, float, float]) -> None:
    record = pages.generated(400, degree=0)
    found = outlook(record, None, np.array(up))
    right, down, forward, eye = first_view(found)["c2w"].T
    np.testing.assert_allclose(np.cross(right, down), forward, atol=1e-12)
    assert right @ up == pytest.approx(0.0, abs=1e-12) and down @ up < -0.9
    assert (eye - found.centre) @ up > 0.3 * found.extent


def test_a_camera_turns_about_what_it_looks_at_and_not_about_dust_on_its_lens() -> None:
    generator = np.random.default_rng(0)
    wall = np.column_stack([generator.uniform(-3, 3, (600, 2)), np.full(600, 5.0)])
    dust = np.column_stack([generator.uniform(-1e-3, 1e-3, (400, 2)), np.full(400, 0.02)])
    beside = np.tile([[0.4, 0, 1], [-0.4, 0, 1], [0, 0.4, 1], [0, -0.4, 1]], (200, 1))  # not in the middle half
    behind = np.column_stack([generator.uniform(-3, 3, (200, 2)), np.full(200, -4.0)])
    camera = Cameras.pinhole(
        torch.eye(4, dtype=torch.float64)[None], torch.tensor([[100.0, 100, 50, 50]], dtype=torch.float64),
        torch.tensor([[100, 100]]),
    )  # fmt: skip
    found = outlook(placed(np.concatenate([wall, dust, beside, behind])), camera)
    assert found.focus[0] == pytest.approx(5.0)
