"""From photographs of a known place to a trained run: what was found is where and how large it is in truth."""

import errno
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import neural
from neural import first_look, reconstruction
from neural.cameras import Cameras
from neural.errors import BackendUnavailable, CheckpointError, NotSaved, SceneFormatError
from neural.reconstruction import Reconstruction, reconstruct
from neural.scenes.files import ply
from neural.scenes.files.gaussians import formats
from neural.scenes.photographs import cameras as cameras_module
from neural.scenes.photographs.georeference import Origin
from neural.scenes.photographs.settings import CameraSettings
from neural.scenes.photographs.sfm import process
from neural.train.tasks.capture.config import RunConfig
from neural.train.tasks.splats import run as splats_run
from neural.train.tasks.splats.config import SplatOptimConfig, SplatsConfig
from tests.scenes.photographs import corner
from tests.scenes.photographs.conftest import BAD, STEPS, TURNED, Corner


@pytest.fixture(scope="module")
def document(reconstructed: Reconstruction) -> dict:
    return json.loads((reconstructed.folder / "cameras.json").read_text("utf-8"))


def test_every_good_photograph_has_a_pose_and_every_bad_one_a_reason(
    reconstructed: Reconstruction, document: dict, photographs: Corner
) -> None:
    assert reconstructed.registered == reconstructed.photographs == len(photographs.c2w)
    assert {frame["file_path"] for frame in document["frames"]} == {f"photographs/{name}" for name in photographs.c2w}
    assert document["left_out"].keys() == BAD.keys()
    for name, why in BAD.items():
        assert why in document["left_out"][name]
    masks = [frame["mask_path"] for frame in document["frames"] if "mask_path" in frame]
    assert masks == ["photographs/masks/été 0/photo 1.png"]


def test_cameras_are_where_they_were_in_metres_east_north_up(document: dict, photographs: Corner) -> None:
    assert (document["scale"], document["metres_per_unit"], document["utm"]) == ("metric", 1.0, "EPSG:32632")
    numbers = dict(part.split("=") for part in document["crs"].replace("+", "").split() if "_0" in part)
    origin = Origin(float(numbers["lat_0"]), float(numbers["lon_0"]), float(numbers["h_0"]))
    shift = origin.enu(np.array([corner.ORIGIN]))[0]  # of the corner in the frame of the file
    for frame in document["frames"]:
        truth = photographs.c2w[frame["file_path"].removeprefix("photographs/")]
        found = np.array(frame["transform_matrix"]) * [1, -1, -1, 1]
        turned = Path(frame["file_path"]).stem in {f"photo {i}" for i in TURNED}
        axes = truth[:3, :3] @ (np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]]) if turned else np.eye(3))
        assert np.linalg.norm(found[:3, 3] - shift - truth[:3, 3]) < 0.05  # GPS in EXIF has micrometres here
        assert np.trace(found[:3, :3].T @ axes) > 2.9995  # within 1.3 degrees


def test_lenses_and_points_are_those_of_the_scene(document: dict, reconstructed: Reconstruction) -> None:
    for frame in document["frames"]:
        assert frame["fl_x"] == pytest.approx(corner.FOCAL, rel=0.02)
        assert (frame["w"], frame["h"]) in ((corner.WIDTH, corner.HEIGHT), (corner.HEIGHT, corner.WIDTH))
    scene = neural.load(reconstructed.folder)
    assert scene.points is not None and len(scene.points) > 1000
    assert scene.crs == document["crs"] and scene.metres_per_unit == 1.0
    numbers = dict(part.split("=") for part in document["crs"].replace("+", "").split() if "_0" in part)
    origin = Origin(float(numbers["lat_0"]), float(numbers["lon_0"]), float(numbers["h_0"]))
    xyz = scene.points.xyz - origin.enu(np.array([corner.ORIGIN]))[0]
    off = np.abs(np.stack([xyz[:, 2], xyz[:, 1] - 6, xyz[:, 0] + 4])).min(axis=0)
    assert np.median(off) < 0.02
    assert np.quantile(off, 0.9) < 0.1


def test_tracks_say_where_each_photograph_saw_which_point(reconstructed: Reconstruction) -> None:
    """Points land where they were seen, in photographs that lie on their side too."""
    scene = neural.load(reconstructed.folder)
    assert scene.points is not None
    seen = scene.points.observations
    assert seen is not None
    assert np.bincount(seen.points, minlength=len(scene.points)).min() >= 2
    for index in range(len(scene.cameras)):
        own = seen.cameras == index
        pixels, depth = scene.cameras.project(torch.from_numpy(scene.points.xyz[seen.points[own]]), index)
        assert own.sum() > 100 and bool((depth > 0).all())
        assert float((pixels - torch.from_numpy(seen.pixels[own])).norm(dim=1).median()) < 1.0


def test_points_have_the_colours_of_the_photographs(reconstructed: Reconstruction) -> None:
    """The trainer's pixels and those that features were found in lie on one grid, for turned photographs too."""
    scene = neural.load(reconstructed.folder)
    assert scene.points is not None and scene.images is not None
    for index in range(len(scene.cameras)):
        pixels, depth = scene.cameras.project(torch.from_numpy(scene.points.xyz), index)
        width, height = scene.cameras.sizes[index].tolist()
        at = pixels.floor().long().numpy()
        seen = (depth.numpy() > 0) & (at >= 0).all(axis=1) & (at < [width, height]).all(axis=1)
        image = scene.images[index][at[seen, 1], at[seen, 0]].astype(float)
        assert np.corrcoef(image[:, 0], scene.points.rgb[seen, 0])[0, 1] > 0.8


def test_the_run_is_an_ordinary_one_with_its_files(reconstructed: Reconstruction) -> None:
    folder = reconstructed.folder
    assert neural.load_run(folder, device="cpu").scene.path == (folder / "cameras.json").resolve()
    assert {"report.html", "scene.spz", "picture.png"} <= {path.name for path in reconstructed.files}
    if (Path(neural.__file__).parent / "viewer" / "web" / "dist" / "page.js").is_file():
        assert folder / "page.html" in reconstructed.files
    record = formats.read(folder / "scene.spz")
    assert len(record.means) == reconstructed.run.gaussians.n


def test_the_report_shows_photographs_upright(reconstructed: Reconstruction) -> None:
    run = neural.load_run(reconstructed.folder, device="cpu")
    names = [name for name in run.scene.image_names if Path(name).stem in {f"photo {i}" for i in TURNED}]
    scores = run.evaluate(split="train", progress=False)
    views = {view.name: view for view in run.show(scores, progress=False).views}
    shapes = {view.image.shape for view in views.values()}
    assert len(shapes) == 1 and set(names) & views.keys()
    assert all(view.target.shape == view.image.shape for view in views.values())


@pytest.mark.parametrize("path", ["orbit", "train"])
def test_films_are_upright(reconstructed: Reconstruction, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    run = neural.load_run(reconstructed.folder, device="cpu")
    seen: list[Cameras] = []

    def image(_: object, cameras: Cameras, index: int) -> torch.Tensor:
        seen.append(cameras[index])
        return torch.zeros(64, 64, 3)

    monkeypatch.setattr(splats_run.SplatRun, "_image", image)
    run.render(path=path, frames=40, progress=False)
    assert len(seen) == 40
    for camera in seen:
        down = camera.c2w[0, :3, 1].numpy() @ run.scene.up
        across = camera.c2w[0, :3, 0].numpy() @ run.scene.up
        assert down < -0.7 and abs(across) < 0.2
        assert camera.sizes[0].tolist() == [corner.WIDTH // 4, corner.HEIGHT // 4]


def test_the_same_call_does_nothing_again(
    reconstructed: Reconstruction, photographs: Corner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "run", _never)
    config = SplatsConfig(run=RunConfig(steps=STEPS, device="cpu", downscale=4))
    again = reconstruct(photographs.folder, out=reconstructed.folder, config=config, progress=False)
    assert again.registered == reconstructed.registered
    (reconstructed.folder / "cameras.json").unlink()  # but its stages are there
    shorter = SplatsConfig(run=RunConfig(device="cpu", downscale=4))  # as long as before
    reconstruct(photographs.folder, out=reconstructed.folder, config=shorter, progress=False)
    before = _made_from(reconstructed)
    monkeypatch.setattr(cameras_module, "FORMAT", cameras_module.FORMAT + 1)  # a release that makes more of the stages
    reconstruct(photographs.folder, out=reconstructed.folder, config=shorter, progress=False)
    assert _made_from(reconstructed) != before


def test_without_gps_the_size_is_arbitrary_and_up_that_of_the_cameras(
    reconstructed: Reconstruction, photographs: Corner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """The cameras are made again, from stages that are there."""
    run = tmp_path / "run"
    shutil.copytree(reconstructed.folder, run, symlinks=True)
    monkeypatch.setattr(process, "run", _never)
    say, without = reconstruction.Say(True), CameraSettings(gps=False)
    document = reconstruction.find_cameras(photographs.folder, run, without, say)
    assert (document["scale"], document["gps"]) == ("arbitrary", "none")
    assert "the scale is arbitrary (no GPS); up is as the cameras were held" in capsys.readouterr().out
    names = [frame["file_path"].removeprefix("photographs/") for frame in document["frames"]]
    found = np.array([frame["transform_matrix"] for frame in document["frames"]])[:, :3, 3]
    truth = np.array([photographs.c2w[name][:3, 3] for name in names])
    assert np.sqrt(((found - found.mean(axis=0)) ** 2).sum(axis=1).mean()) == pytest.approx(cameras_module.RADIUS)
    scale, rotation, shift = corner.similarity(found, truth)
    np.testing.assert_allclose(scale * found @ rotation.T + shift, truth, atol=0.02)
    assert rotation[2, 2] > np.cos(np.radians(3))


def _made_from(reconstructed: Reconstruction) -> str:
    return json.loads((reconstructed.folder / "cameras.json").read_text("utf-8"))["made_from"]


def test_a_run_can_be_moved_and_stands_upright(reconstructed: Reconstruction, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(reconstructed.folder, moved, symlinks=True)
    run = neural.load_run(moved, device="cpu")
    assert run.scene.path == moved / "cameras.json" and run.scene.axes == "RFU"
    up = formats.read(run.export(tmp_path / "a.ply"), axes="RDF").means[:, 2]  # numbers of the capture
    high = formats.read(run.export(tmp_path / "a.glb"), axes="RDF").means[:, 1]  # glTF: y is up
    assert np.array_equal(up, high)


def test_files_that_are_named_as_ours_stay(photographs: Corner, tmp_path: Path) -> None:
    pytest.importorskip("pycolmap")
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match=r"holds other files \(frames\)"):
        reconstruct(photographs.folder, out=tmp_path, progress=False)
    with pytest.raises(ValueError, match="minutes"):  # before anything takes long
        reconstruct(photographs.folder, out=tmp_path / "new", minutes=-1, progress=False)


def test_a_device_that_is_not_there_is_refused_before_anything_takes_long(
    photographs: Corner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pycolmap")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = SplatsConfig(run=RunConfig(device="cuda"))
    with pytest.raises(BackendUnavailable, match="torch sees no CUDA device"):
        reconstruct(photographs.folder, out=tmp_path / "run", config=config, preview=True, progress=False)
    assert not (tmp_path / "run").exists()


def test_the_first_look_is_trained_where_the_training_is(
    photographs: Corner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []

    def stop(*_: object, device: str, **__: object) -> None:
        asked.append(device)
        raise KeyboardInterrupt

    monkeypatch.setattr(reconstruction, "first_look", stop)
    with pytest.raises(KeyboardInterrupt):
        reconstruction.find_cameras(
            photographs.folder, tmp_path, CameraSettings(), reconstruction.Say(False), preview=True, device="cpu"
        )
    assert asked == ["cpu"]


def test_what_is_left_is_said_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    say = reconstruction.Say(True)
    say.left = {"cameras": 300.0, "training": 70.0, "files": 8.0}
    for name in ("photographs", *say.left):
        say.stage(name)
    said = [line.partition("] ")[2] for line in capsys.readouterr().out.splitlines()]
    assert said == [
        "photographs",
        "cameras, about 6 min left in all",
        "training, about 1 min left in all",
        "files, about 10 s left in all",
    ]


def test_a_folder_is_of_one_set_of_photographs(reconstructed: Reconstruction, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="choose another --out"):
        reconstruct(tmp_path, out=reconstructed.folder, progress=False)


def test_a_wrong_path_does_not_claim_the_folder(photographs: Corner, tmp_path: Path) -> None:
    pytest.importorskip("pycolmap")
    (tmp_path / "wrong").mkdir()
    with pytest.raises(SceneFormatError, match="no photographs here"):
        reconstruct(tmp_path / "wrong", out=tmp_path / "run", progress=False)
    one = photographs.folder / "été 0" / "photo 0.jpg"
    with pytest.raises(SceneFormatError, match=r"is one photograph; give the folder .*été 0"):
        reconstruct(one, out=tmp_path / "run", progress=False)
    (tmp_path / "right").mkdir()
    with pytest.raises(SceneFormatError, match="no photographs here"):  # and not that the folder holds others'
        reconstruct(tmp_path / "right", out=tmp_path / "run", progress=False)


def test_the_size_that_is_asked_for_is_trained_on_and_somebody_may_look_on(
    reconstructed: Reconstruction, photographs: Corner, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int | None, object]] = []

    def train(*_: object, **options: object) -> None:
        config, watch = _[1], options["watch"]
        assert isinstance(config, SplatsConfig)
        seen.append((config.run.downscale, watch(lambda: None).look(moment) if callable(watch) else None))
        raise KeyboardInterrupt

    looked: list[object] = []
    moment = object()
    monkeypatch.setattr(splats_run, "train", train)
    monkeypatch.setattr(reconstruction, "CPU_PIXELS", corner.WIDTH * corner.HEIGHT // 9)
    monkeypatch.setattr(first_look.Improving, "look", lambda _, at: looked.append(at))

    class Looker:
        def look(self, at: object) -> None:
            looked.append(at)

    def again(downscale: int | None, **options: object) -> None:
        config = SplatsConfig(run=RunConfig(steps=STEPS, device="cpu", downscale=downscale))
        with pytest.raises(KeyboardInterrupt):
            reconstruct(photographs.folder, out=reconstructed.folder, config=config, progress=False, **options)  # type: ignore[arg-type]

    again(None)
    again(1)
    assert (seen, looked) == ([(3, None), (1, None)], [])
    again(2, watch=lambda _: Looker(), preview=True)
    assert looked == [moment, moment]


@pytest.mark.parametrize(
    ("asked", "told", "expected"),
    [
        (SplatOptimConfig(), {}, (True, reconstruction.DEPTH)),
        (SplatOptimConfig(depth=0.5), {"exposure": False}, (False, 0.5)),
        (SplatOptimConfig(depth=0.0, exposure=True), {"exposure": False}, (True, 0.0)),
    ],
)
def test_exposures_and_depths_are_learnt_unless_told_otherwise(
    reconstructed: Reconstruction, photographs: Corner, asked: SplatOptimConfig, told: dict[str, bool],
    expected: tuple[bool, float], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    seen: list[tuple[bool, float | None]] = []

    def train(path: Path, config: SplatsConfig, **_: object) -> None:
        seen.append((config.optim.exposure, config.optim.depth))
        raise KeyboardInterrupt

    monkeypatch.setattr(splats_run, "train", train)
    config = SplatsConfig(optim=asked, run=RunConfig(steps=STEPS, device="cpu"))
    with pytest.raises(KeyboardInterrupt):
        reconstruct(photographs.folder, out=reconstructed.folder, config=config, progress=False, **told)
    assert seen == [expected]


def test_photographs_that_share_nothing_are_refused_with_what_to_do(tmp_path: Path) -> None:
    pytest.importorskip("pycolmap")
    shots = corner.shots(2)
    other = replace(shots[0], pixels=np.ascontiguousarray(shots[0].pixels[::-1] ^ 85))
    for index, shot in enumerate((shots[0], other, replace(other, pixels=other.pixels[:, ::-1] // 2))):
        corner.save(shot, tmp_path / "in" / f"{index}.jpg", gps=False)
    with pytest.raises(SceneFormatError, match=r"overlap by two thirds"):
        reconstruct(tmp_path / "in", out=tmp_path / "out", settings=CameraSettings(max_side=200), progress=False)
    assert not (tmp_path / "out" / "cameras.json").exists()


def _never(*_: object, **__: object) -> None:
    raise AssertionError("a finished stage ran again")


def test_what_cannot_be_written_is_said_with_the_place(photographs: Corner, tmp_path: Path) -> None:
    pytest.importorskip("pycolmap")
    (tmp_path / "file").touch()
    with pytest.raises(NotSaved, match="choose another --out"):
        reconstruct(photographs.folder, out=tmp_path / "file" / "run", progress=False)


def test_a_full_disk_keeps_what_was_finished(
    reconstructed: Reconstruction, photographs: Corner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    cameras = reconstructed.folder / "cameras.json"
    before = cameras.read_bytes()
    cameras.rename(cameras.with_name("kept"))
    with monkeypatch.context() as patched:
        patched.setattr(ply, "write_points", full)
        with pytest.raises(NotSaved, match="No space left"):
            reconstruct(photographs.folder, out=reconstructed.folder, progress=False)
    assert not cameras.exists()
    cameras.with_name("kept").rename(cameras)
    assert cameras.read_bytes() == before
    assert (reconstructed.folder / "checkpoints").is_dir()


@pytest.mark.slow
def test_a_first_look_is_there_before_the_training(
    photographs: Corner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pycolmap")
    monkeypatch.setattr(first_look, "SECONDS", 0.5)

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cameras_module.ladder, "climb", _first_only(cameras_module.ladder.climb, stop))
    with pytest.raises(KeyboardInterrupt):
        reconstruct(photographs.folder, out=tmp_path / "run", preview=True, progress=False)
    assert (tmp_path / "run" / "picture.png").stat().st_size > 10_000
    assert not (tmp_path / "run" / "cameras.json").exists()


def _first_only(first: Callable[..., object], then: Callable[..., object]) -> Callable[..., object]:
    calls = iter([first])
    return lambda *args, **options: next(calls, then)(*args, **options)
