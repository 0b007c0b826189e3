"""The synthetic cloud: the same everywhere and however it is written, and something worth looking at."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from neural.errors import TooLarge
from neural.scenes.synthetic import cloud as module
from neural.scenes.synthetic.cloud import CloudRecipe, cloud, main, write

SMALL = CloudRecipe(resolution=40)


def test_it_is_dense_inside_empty_outside_and_bright() -> None:
    grid = cloud(SMALL).astype(np.float32)
    assert grid.shape == (40, 40, 20, 4)
    density, albedo = grid[..., 0], grid[..., 1:]
    assert 0.02 < (density > 1).mean() < 0.5
    assert 0.6 * 60 < density.max() <= 60
    assert density.min() == 0
    for face in (density[0], density[-1], density[:, 0], density[:, -1], density[..., 0], density[..., -1]):
        assert face.max() == 0  # nothing is cut off
    assert 0.5 < albedo.min() < albedo.max() < 1


def test_tiles_and_files_change_no_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = cloud(SMALL)
    monkeypatch.setattr(module, "TILE", 7)
    write(SMALL, tmp_path / "cloud.npy")
    assert np.load(tmp_path / "cloud.npy").tobytes() == whole.tobytes()
    assert [path.name for path in tmp_path.iterdir()] == ["cloud.npy"]


def test_a_finer_one_is_the_same_cloud() -> None:
    """Voxel i of 24 has the centre of voxel 3 i + 1 of 72."""
    coarse, fine = cloud(CloudRecipe(resolution=24)), cloud(CloudRecipe(resolution=72))
    np.testing.assert_allclose(fine[1::3, 1::3, 1::3].astype(float), coarse.astype(float), rtol=2e-3, atol=2e-3)


def test_seeds_and_densities_matter() -> None:
    other = cloud(CloudRecipe(resolution=40, seed=1))
    assert np.abs(other[..., 0].astype(float) - cloud(SMALL)[..., 0]).mean() > 1
    thin = cloud(CloudRecipe(resolution=40, density=6.0))
    np.testing.assert_allclose(
        thin[..., 0].astype(float), cloud(SMALL)[..., 0].astype(float) / 10, rtol=2e-3, atol=1e-4
    )


def test_a_full_disk_is_said_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 1000))
    with pytest.raises(TooLarge, match=r"the cloud takes 0\.0 GB"):
        write(SMALL, tmp_path / "cloud.npy")
    assert list(tmp_path.iterdir()) == []


def test_a_stopped_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_tile", stop)
    with pytest.raises(KeyboardInterrupt):
        write(SMALL, tmp_path / "cloud.npy")
    assert list(tmp_path.iterdir()) == []


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--out", str(tmp_path / "cloud.npy"), "--resolution", "16", "--seed", "3"]
    assert main(arguments) == 0
    assert np.array_equal(np.load(tmp_path / "cloud.npy"), cloud(CloudRecipe(resolution=16, seed=3)))
    assert main(arguments) == 2
    assert "exists; pass --overwrite" in capsys.readouterr().err
    assert main([*arguments, "--overwrite"]) == 0
    with pytest.raises(SystemExit, match="2"):
        main(["--out", str(tmp_path / "other.npy"), "--resolution", "4"])
    assert "resolution must be 8 to 8192" in capsys.readouterr().err
