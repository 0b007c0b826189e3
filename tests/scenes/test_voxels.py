"""Voxel grids: every form of file gives the same grid, what can be mapped is mapped, what is wrong is named."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from neural import memory
from neural.errors import SceneFormatError, TooLarge
from neural.scenes.volumes import survey as survey_module
from neural.scenes.volumes.header import is_grid
from neural.scenes.volumes.survey import FAINT, survey
from neural.scenes.volumes.voxels import ALBEDO, from_arrays, load_voxels

RNG = np.random.default_rng(3)
DENSITY = RNG.random((5, 6, 4), np.float32)
ALBEDOS = RNG.random((5, 6, 4, 3), np.float32)
BOTH = np.concatenate([DENSITY[..., None], ALBEDOS], -1)

WRITERS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "one array": (".npy", lambda path: np.save(path, BOTH)),
    "rows of columns": (".npy", lambda path: np.save(path, np.asfortranarray(BOTH))),
    "other byte order": (".npy", lambda path: np.save(path, BOTH.astype(">f4"))),
    "double": (".npy", lambda path: np.save(path, BOTH.astype(np.float64))),
    "npz of one array": (".npz", lambda path: np.savez(path, BOTH)),
    "npz of two": (".npz", lambda path: np.savez(path, density=DENSITY, albedo=ALBEDOS)),
    "npz of two, with a scale": (
        ".npz", lambda path: np.savez(path, density=DENSITY / 4, albedo=ALBEDOS, density_scale=4.0),
    ),
    "compressed": (".npz", lambda path: np.savez_compressed(path, density=DENSITY, albedo=ALBEDOS)),
}  # fmt: skip


def points(n: int = 200) -> torch.Tensor:
    return torch.rand(n, 3, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("form", WRITERS)
def test_every_form_is_the_same_grid(form: str, tmp_path: Path) -> None:
    suffix, write = WRITERS[form]
    path = tmp_path / f"grid{suffix}"
    write(path)
    voxels = load_voxels(path)
    assert voxels.sizes == (5, 6, 4)
    assert voxels.box.tolist() == [[0, 0, 0], [5 / 6, 1, 4 / 6]]
    torch.testing.assert_close(voxels.sample(points()), from_arrays(DENSITY, ALBEDOS).sample(points()))
    centre = torch.tensor([[2.5, 3.5, 1.5]]) / 6  # of voxel (2, 3, 1)
    torch.testing.assert_close(voxels.sample(centre)[0], torch.from_numpy(BOTH[2, 3, 1]))


def test_density_alone_has_one_albedo(tmp_path: Path) -> None:
    np.save(tmp_path / "grid.npy", DENSITY)
    found = load_voxels(tmp_path / "grid.npy").sample(points())
    assert (found[:, 1:] == ALBEDO).all()
    torch.testing.assert_close(found[:, 0], from_arrays(BOTH).densities(points()))


@pytest.mark.parametrize(("dtype", "full"), [(np.uint8, 255), (np.uint16, 65535)])
def test_integers_stand_for_shares_of_the_largest(dtype: type, full: int, tmp_path: Path) -> None:
    np.save(tmp_path / "grid.npy", np.full((3, 3, 3, 4), full, dtype))
    np.testing.assert_allclose(load_voxels(tmp_path / "grid.npy").sample(points(1)), [[100, 1, 1, 1]], rtol=1e-5)
    scaled = load_voxels(tmp_path / "grid.npy", density_scale=7.0)
    np.testing.assert_allclose(scaled.sample(points(1)), [[7, 1, 1, 1]], rtol=1e-5)
    assert survey(scaled, 16).densest == pytest.approx(7.0)


@pytest.mark.parametrize("form", ["one array", "npz of one array", "npz of two", "npz of two, with a scale"])
def test_plain_files_are_mapped_and_need_no_memory(form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    suffix, write = WRITERS[form]
    write(tmp_path / f"grid{suffix}")
    monkeypatch.setattr(memory, "available", lambda device: 0)
    voxels = load_voxels(tmp_path / f"grid{suffix}")
    survey(voxels, 16)
    raw = (tmp_path / f"grid{suffix}").read_bytes()
    with (tmp_path / f"grid{suffix}").open("r+b") as file:  # a map shows what the file holds now
        file.write(bytes(len(raw)))
    assert float(voxels.sample(points())[:, 0].abs().max()) == 0.0


@pytest.mark.parametrize("form", ["rows of columns", "other byte order", "compressed"])
def test_what_must_be_read_as_a_whole_says_its_size_first(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suffix, write = WRITERS[form]
    write(tmp_path / f"grid{suffix}")
    monkeypatch.setattr(memory, "available", lambda device: 100)
    with pytest.raises(TooLarge, match=r"must be read as a whole: 0\.0 GB, .* are free; (save|np\.savez)"):
        load_voxels(tmp_path / f"grid{suffix}")


def test_a_grid_larger_than_memory_opens(tmp_path: Path) -> None:
    """256 GB, of which the file system keeps only what is written."""
    path = tmp_path / "grid.npy"
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (4000, 4000, 1000, 4)}
    )
    with path.open("wb") as file:
        file.write(header.getvalue())
        file.truncate(len(header.getvalue()) + 4000 * 4000 * 1000 * 16)
    voxels = load_voxels(path)
    assert voxels.n_bytes == 256_000_000_000
    assert voxels.sample(points(4)).shape == (4, 4)


@pytest.mark.parametrize(
    ("shape", "grid"),
    [((5, 6, 7), True), ((5, 6, 4, 4), True), ((5, 6, 3), False), ((5, 6), False), ((5, 6, 4), False)],
)
def test_a_picture_is_told_from_a_grid(shape: tuple[int, ...], grid: bool, tmp_path: Path) -> None:
    np.save(tmp_path / "array.npy", np.zeros(shape, np.float32))
    assert is_grid(tmp_path / "array.npy") == grid
    np.savez(tmp_path / "array.npz", np.zeros(shape, np.float32))
    assert is_grid(tmp_path / "array.npz")
    (tmp_path / "text.npy").write_text("no array")
    assert not is_grid(tmp_path / "text.npy")
    assert not is_grid(tmp_path / "none.npy")


def test_the_survey_finds_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    density = np.where(DENSITY > 0.7, DENSITY, 0) * 30
    voxels = from_arrays(density, ALBEDOS)
    found = survey(voxels, 16)
    assert found.densest == pytest.approx(float(density.max()))
    assert found.mean == pytest.approx(float(density.mean()), rel=1e-6)
    assert found.mean_square == pytest.approx(float(np.square(density).mean()), rel=1e-6)
    monkeypatch.setattr(survey_module, "SLAB_BYTES", 1)  # plane by plane
    again = survey(voxels, 16)
    assert np.array_equal(found.peaks, again.peaks)
    assert found.mean == pytest.approx(again.mean, rel=1e-12)


@pytest.mark.parametrize("sizes", [(5, 6, 4), (40, 33, 7), (1, 9, 2), (16, 16, 16)])
def test_no_density_is_above_the_peak_of_its_cell(sizes: tuple[int, int, int]) -> None:
    density = RNG.random(sizes, np.float32) * (RNG.random(sizes) > 0.8)
    density[0, 0, 0] = 1.0
    voxels = from_arrays(density)
    found = survey(voxels, 16)
    where = points(20_000) * voxels.box[1].float()
    cells = (where * 16).long()
    peaks = torch.from_numpy(found.peaks)[cells[:, 0], cells[:, 1], cells[:, 2]]
    assert bool((voxels.densities(where) <= peaks * (1 + 1e-5) + 1e-6).all())
    there = torch.argwhere(torch.from_numpy(found.peaks) > FAINT)
    assert torch.equal(found.box, torch.stack([there.amin(0), there.amax(0) + 1]).double() / 16)


def broken(array: np.ndarray, value: float, *place: int) -> np.ndarray:
    changed = array.copy()
    changed[place] = value
    return changed


@pytest.mark.parametrize(
    ("density", "albedo", "message"),
    [
        (broken(DENSITY, np.nan, 2, 3, 1), None, r"density must be finite .* first at \[2, 3, 1\] is nan"),
        (broken(DENSITY, np.inf, 0, 0, 0), None, "density must be finite"),
        (broken(DENSITY, -0.5, 4, 0, 2), None, r"at least 0: 1 voxels .* first at \[4, 0, 2\] is -0.5"),
        (broken(BOTH, np.nan, 1, 1, 1, 3), None, r"albedo must be 0 to 1.* first at \[1, 1, 1\]"),
        (DENSITY, broken(ALBEDOS, 1.5, 3, 0, 0, 1), r"albedo must be 0 to 1.* first at \[3, 0, 0\]"),
        (np.zeros((3, 3, 3), np.float32), None, "nothing to see; give a larger density scale"),
    ],
)
def test_values_that_cannot_be_are_found(density: np.ndarray, albedo: np.ndarray | None, message: str) -> None:
    with pytest.raises(SceneFormatError, match=message):
        survey(from_arrays(density, albedo), 16)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 4)), r"expected densities \[X, Y, Z\].*got density \[3, 4\]"),
        (np.zeros((3, 4, 5, 2)), r"got density \[3, 4, 5, 2\]"),
        (np.zeros((3, 0, 5)), r"a grid of \[3, 0, 5\] voxels is empty"),
        (np.zeros((3, 3, 3), np.int32), "voxels must be float16, .* got int32"),
        (np.zeros((3, 3, 3), np.complex64), "got complex64"),
        (np.zeros((3, 3, 3), object), "holds Python objects"),
    ],
)
def test_arrays_that_are_no_grid_are_named(array: np.ndarray, message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "grid.npy", array, allow_pickle=True)
    with pytest.raises(SceneFormatError, match=message):
        load_voxels(tmp_path / "grid.npy")


def test_files_that_are_no_grid_are_named(tmp_path: Path) -> None:
    def refused(name: str, message: str) -> None:
        with pytest.raises(SceneFormatError, match=message):
            load_voxels(tmp_path / name)

    refused("none.npy", "no such file")
    refused(".", "no such file; give a .npy or .npz")
    (tmp_path / "text.npy").write_text("not an array")
    refused("text.npy", r"no \.npy array: .* write it with np\.save")
    (tmp_path / "empty.npy").touch()
    refused("empty.npy", r"no \.npy array")
    np.save(tmp_path / "cut.npy", BOTH)
    whole = (tmp_path / "cut.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(whole[:-10])
    refused("cut.npy", r"cut short: \[5, 6, 4, 4\] float32 take 1,920 bytes, and 1,910 are there")
    np.savez(tmp_path / "cut.npz", density=DENSITY)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "cut.npz").read_bytes()[:200])
    refused("cut.npz", r"no \.npy array|damaged")
    np.savez(tmp_path / "three.npz", a=DENSITY, b=DENSITY)
    refused("three.npz", "got arrays named a, b")
    np.savez(tmp_path / "odd.npz", density=DENSITY, albedo=ALBEDOS[:2])
    refused("odd.npz", r"albedo must be \[5, 6, 4, 3\] to go with its density, got \[2, 6, 4, 3\]")
    np.savez(tmp_path / "scales.npz", density=DENSITY, density_scale=np.ones(2))
    refused("scales.npz", "density_scale must be one number")
    np.savez(tmp_path / "scale.npz", density=DENSITY, density_scale=-1.0)
    refused("scale.npz", "density_scale must be positive")
