"""Gaussians in another frame look from every place as they did, and files hold them in the frame of the input."""

from pathlib import Path

import numpy as np
import pytest
import torch

from neural.cuda.gaussian_color import gaussian_color
from neural.export import export
from neural.gaussians.model import Gaussians
from neural.gaussians.order import rotations
from neural.gaussians.similarity import transformed
from neural.poses import rotation_from_quat
from neural.scenes.files.gaussians import formats


def _gaussians(degree: int) -> Gaussians:
    generator = torch.Generator().manual_seed(degree)

    def randn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    n, k = 40, (0, 3, 8, 15)[degree]
    return Gaussians(randn(n, 3), randn(n, 4), randn(n, 3) - 2, randn(n), randn(n, 3), 0.3 * randn(n, k, 3))


def _similarity(scale: float = 2.5) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = scale * rotation_from_quat(np.array([0.3, -0.8, 0.4, 0.6]))
    matrix[:3, 3] = [1.0, -2.0, 0.5]
    return matrix


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_colours_and_shapes_turn_with_the_frame(degree: int) -> None:
    old, similarity = _gaussians(degree), _similarity()
    new = transformed(old, similarity)
    linear, shift = (torch.from_numpy(similarity[:3, part]).float() for part in (slice(3), 3))
    centre = torch.tensor([3.0, 1.0, -4.0])
    moved = linear @ centre + shift
    with torch.no_grad():
        before = gaussian_color(old.means, centre, old.sh0, old.shN, degree)
        after = gaussian_color(new.means, moved, new.sh0, new.shN, degree)
    torch.testing.assert_close(after, before, atol=2e-5, rtol=0)
    axes = rotations(old.quats) * old.log_scales.exp()[:, None]
    turned = rotations(new.quats) * new.log_scales.exp()[:, None]
    expected = linear @ axes @ axes.transpose(1, 2) @ linear.T
    torch.testing.assert_close(turned @ turned.transpose(1, 2), expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(new.means, old.means @ linear.T + shift, atol=1e-5, rtol=1e-5)


def test_there_and_back_is_where_it_was() -> None:
    old = _gaussians(3)
    back = transformed(transformed(old, _similarity()), np.linalg.inv(_similarity()))
    for name in ("means", "log_scales", "opacity_logits", "sh0", "shN"):
        torch.testing.assert_close(getattr(back, name), getattr(old, name), atol=1e-5, rtol=1e-5)


def test_a_mirror_is_refused() -> None:
    with pytest.raises(ValueError, match="positive scale"):
        transformed(_gaussians(0), np.diag([1.0, 1.0, -1.0, 1.0]))


@pytest.mark.parametrize("suffix", formats.ENDINGS)
def test_a_file_is_in_the_frame_of_the_input(suffix: str, tmp_path: Path) -> None:
    gaussians, origin = _gaussians(2), torch.tensor([10.0, 20.0, 30.0], dtype=torch.float64)
    path = export(gaussians, tmp_path / "deep" / f"scene{suffix}", origin=origin, world_to_scene=_similarity())
    record = formats.read(path)
    back = np.linalg.inv(_similarity())
    expected = (gaussians.means.detach().numpy() + origin.numpy()) @ back[:3, :3].T + back[:3, 3]
    step = {".spz": 2**-12, ".sog": 2e-3, ".compressed.ply": 2e-3}.get(suffix, 0.0)
    distances = np.abs(record.means[:, None] - expected).max(axis=2)  # some formats have an order of their own
    assert max(distances.min(axis=0).max(), distances.min(axis=1).max()) < step + 1e-4


def test_an_exposure_is_baked_into_every_colour(tmp_path: Path) -> None:
    gaussians = _gaussians(3)
    colors = torch.tensor([[1.1, 0.1, 0.0, 0.05], [0.0, 0.9, 0.0, -0.02], [0.0, 0.2, 0.8, 0.1]])
    record = formats.read(export(gaussians, tmp_path / "a.ply", colors=colors))
    baked, centre = Gaussians.from_record(record), torch.tensor([9.0, 9.0, 9.0])
    lifted = 10.0  # so that nothing is cut off at black
    with torch.no_grad():
        gaussians.sh0 += lifted / 0.28209479
        plain = gaussian_color(gaussians.means, centre, gaussians.sh0, gaussians.shN, 3) - lifted
        seen = gaussian_color(baked.means, centre, baked.sh0 + lifted / 0.28209479, baked.shN, 3) - lifted
    torch.testing.assert_close(seen, plain @ colors[:, :3].T + colors[:, 3], atol=1e-4, rtol=0)


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must end in .*\.ply"):
        export(_gaussians(0), tmp_path / "scene.obj")
    assert not list(tmp_path.iterdir())
