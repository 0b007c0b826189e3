"""`neural.export.export`: frames, axes, what is known of the place, and coordinates too large for single precision."""

from pathlib import Path

import numpy as np
import pytest
import torch

from neural.export import export, levels, recorded, written
from neural.gaussians.model import Gaussians
from neural.poses import rotation_from_quat
from neural.scenes.files.gaussians import formats
from neural.scenes.files.gaussians.axes import change
from neural.scenes.files.gaussians.record import SH_C0


@pytest.fixture
def gaussians() -> Gaussians:
    generator = torch.Generator().manual_seed(0)

    def randn(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator)

    return Gaussians(randn(60, 3), randn(60, 4), randn(60, 3) - 3, randn(60), randn(60, 3), 0.2 * randn(60, 8, 3))


def _to_scene(scale: float = 0.5, shift: tuple[float, float, float] = (1, 2, 3)) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = scale * rotation_from_quat(np.array([0.5, 0.5, -0.1, 0.7]))
    matrix[:3, 3] = shift
    return matrix


def test_frames(gaussians: Gaussians, tmp_path: Path) -> None:
    """The input's coordinates, those of the scene, and the input's in other axes; lengths go with them."""
    known = {"world_to_scene": _to_scene(), "metres_per_unit": 3.0, "crs": "EPSG:4978", "origin": torch.ones(3)}
    means = gaussians.means.detach().numpy() + 1.0
    back = np.linalg.inv(_to_scene())
    wanted = {
        "input": means @ back[:3, :3].T + back[:3, 3],
        "scene": means,
        "FLU": (means @ back[:3, :3].T + back[:3, 3]) @ change(("RDF", "FLU")).T,
    }
    for frame, places in wanted.items():
        got = formats.read(export(gaussians, tmp_path / "a.ply", frame=frame, **known), axes="RDF")
        np.testing.assert_allclose(got.means, places, atol=1e-4)
        assert got.placement.metres_per_unit == pytest.approx(3.0 if frame == "scene" else 1.5)
        assert got.placement.crs == (None if frame == "scene" else "EPSG:4978")
    same = formats.read(export(gaussians, tmp_path / "a.ply", frame="FLU", **known))
    np.testing.assert_allclose(same.means, wanted["input"], atol=1e-4)
    both = formats.read(export(gaussians, tmp_path / "a.ply", frame="scene", axes="RFU", **known), axes="RDF")
    np.testing.assert_allclose(both.means, means @ change(("RDF", "RFU")).T, atol=1e-4)


def test_every_format_keeps_to_its_axes(gaussians: Gaussians, tmp_path: Path) -> None:
    """Read for RDF, positions are as the format's convention has them; read plainly, as they were."""
    for ending in formats.ENDINGS:
        path = export(gaussians, tmp_path / f"a{ending}")
        own = formats.module(path).AXES
        plain, raw = formats.read(path), formats.read(path, axes="RDF")
        np.testing.assert_allclose(raw.means, plain.means @ change(("RDF", own)).T, atol=1e-6)
        gaps = np.abs(plain.means[:, None] - gaussians.means.detach().numpy()).max(2)
        assert gaps.min(0).max() < 2e-2


def test_metres_of_utm_get_an_offset(gaussians: Gaussians, tmp_path: Path) -> None:
    """Single precision has steps of half a metre there: whole units go to the header, and tiles have origins."""
    place = _to_scene(1.0, (0, 0, 0))
    place[:3, 3] = -place[:3, :3] @ np.array([431_234.5, 4_582_100.25, 60.0])
    got = formats.read(export(gaussians, tmp_path / "a.ply", world_to_scene=place, crs="EPSG:32631"))
    there = gaussians.means.detach().double().numpy() @ place[:3, :3] + [431_234.5, 4_582_100.25, 60.0]
    np.testing.assert_allclose(got.means.astype(np.float64) + got.placement.offset, there, atol=1e-4)
    assert got.placement.offset[1] == round(got.placement.offset[1]) > 4e6
    with pytest.raises(ValueError, match=r"a\.spz cannot say where it lies"):
        export(gaussians, tmp_path / "a.spz", world_to_scene=place)
    index = export(gaussians, tmp_path / "a.spz", world_to_scene=place, tile=2.0)
    whole = formats.read(index)
    here = np.sort(whole.means.astype(np.float64) + whole.placement.offset, axis=0)
    np.testing.assert_allclose(here, np.sort(there, axis=0), atol=1e-3)


def test_the_origin_of_the_training_goes_into_the_offset(gaussians: Gaussians, tmp_path: Path) -> None:
    origin = torch.tensor([4_582_100.25, -31.5, 9.0], dtype=torch.float64)
    got = formats.read(export(gaussians, tmp_path / "a.ply", origin=origin))
    assert got.placement.offset[0] > 4e6
    there = gaussians.means.detach().double().numpy() + origin.numpy()
    np.testing.assert_allclose(got.means.astype(np.float64) + got.placement.offset, there, atol=1e-5)


def test_an_exposure_that_is_baked_in_maps_every_colour(gaussians: Gaussians) -> None:
    """A c + b of colours from any side; of harmonics above the first only A."""
    colors = torch.tensor([[0.9, 0.2, 0.0, 0.1], [0.0, 1.1, -0.3, -0.05], [0.4, 0.0, 0.8, 0.02]])
    record = recorded(gaussians, colors=colors)
    matrix, shift = colors[:, :3].numpy(), colors[:, 3].numpy()
    first, others = gaussians.sh0.detach().numpy(), gaussians.shN.detach().numpy()
    np.testing.assert_allclose(
        0.5 + SH_C0 * record.sh0, (0.5 + SH_C0 * first) @ matrix.T + shift, atol=1e-5
    )  # fmt: skip
    np.testing.assert_allclose(record.shN, others @ matrix.T, atol=1e-5)


def test_the_files_of_a_scene_are_all_of_it_and_no_others(gaussians: Gaussians, tmp_path: Path) -> None:
    for name in ("a[1].ply", "meta.json", "lod-meta.json"):
        folder = tmp_path / name
        index = export(gaussians, folder / name, **({"tile": 2.0} if name == "a[1].ply" else {}))
        files = {path for path in folder.rglob("*") if path.is_file()}
        (folder / "9_9").mkdir()
        for other in ("a1_0_0_0.ply", "a[1]_b_0_0_0.ply", "b.ply", "holiday.webp", "9_9/meta.json"):
            (folder / other).touch()
        found = written(index)
        assert index in found and len(found) > 4
        assert set(found) == files and len(found) == len(files)


def test_steps_of_single_precision_are_judged_in_units_of_the_file(gaussians: Gaussians, tmp_path: Path) -> None:
    """A scene in kilometres of a file in metres: fifty metres large, at ten million, where steps are one."""
    path = export(gaussians, tmp_path / "a.ply", world_to_scene=_to_scene(1e-3, (1e4, 0, 0)))
    assert formats.read(path).placement.offset == (0, 0, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frame": "world"}, "frame must be input, scene or three letters .* got 'world'"),
        ({"frame": "RUB", "axes": "RDF"}, "frame already names the axes"),
        ({"axes": "up"}, "three letters such as RDF"),
        ({"sh_bits": (5, 4)}, "sh_bits means nothing"),
        ({"tile": -1.0}, "side must be positive"),
    ],
)
def test_what_it_refuses(gaussians: Gaussians, tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        export(gaussians, tmp_path / "a.ply", **options)
    assert not list(tmp_path.iterdir())


def test_levels_halve(gaussians: Gaussians) -> None:
    assert [len(level) for level in levels(gaussians.to_record(), 9)] == [60, 30, 15, 8]


@pytest.mark.parametrize(
    ("name", "up"), [("a.spz", 1), ("a.glb", 1), ("a.usda", 1), ("a.splat", 1), ("a.ply", 2), ("a.sog", 2)]
)
def test_a_capture_with_z_up_stands_upright(gaussians: Gaussians, tmp_path: Path, name: str, up: int) -> None:
    """Formats that have an up get it; the others keep the capture's coordinates and say its axes."""
    if name.endswith("usda"):
        pytest.importorskip("pxr")
    means = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]]).repeat(gaussians.n // 2 + 1, 1)[: gaussians.n]
    gaussians.means.data = means
    path = export(gaussians, tmp_path / name, input_axes="RFU")
    raw = formats.read(path, axes="RDF").means
    if name != "a.ply":  # order of its own
        assert np.allclose(np.delete(raw, up, axis=1), 0, atol=1e-2)
        assert np.allclose(np.abs(raw[:, up]), 1, atol=1e-2)
    else:
        assert np.array_equal(raw, means.numpy())
    back = formats.read(path).means  # RDF: up is -y
    assert np.allclose(np.abs(back[:, 1]), 1, atol=1e-2) and np.allclose(back[:, [0, 2]], 0, atol=1e-2)
