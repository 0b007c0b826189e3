"""Signed distances end to end: the field learns a body, the commands show it, and a resumed run has the same bits."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import neural
from neural import checkpoint, cli
from neural.cli.train_sdf import Sdf
from neural.cli.training import parse
from neural.errors import SceneFormatError
from neural.scenes.files import mesh as meshes
from neural.scenes.mesh_distance import MeshDistance
from neural.scenes.solid import build
from neural.train.draws import step_generator
from neural.train.tasks.field.config import FieldConfig
from neural.train.tasks.field.encodings import build_field
from neural.train.tasks.sdf.config import SdfConfig, SdfOptimConfig, SdfSamplingConfig, SdfViewConfig, resolve
from neural.train.tasks.sdf.samples import Samples, SurfacePoints
from neural.train.tasks.sdf.task import SdfTask
from tests.shapes import box, icosphere, mesh_of, without
from tests.threads import same_bits

pytest.importorskip("open3d", reason="distances to a mesh need Open3D: pip install 'neural[mesh]'")

SMALL = {
    "model.n-levels": 6, "model.log2-hashmap-size": 13, "model.base-resolution": 8, "model.finest-resolution": 64,
    "model.width": 32, "sampling.batch-size": 2048, "sampling.shard-size": 2048, "sampling.shard-steps": 8,
    "sampling.shards": 3, "sampling.surface-share": 0.25, "sampling.near-share": 0.625,
    "sampling.near-sigma": 0.01, "optim.mape-floor": 0.1, "optim.lr": 3e-3, "view.views": 1, "view.size": 32,
    "view.resolution": 64, "device": "cpu", "log-every": 5,
}  # fmt: skip
FLAGS = [text for name, value in SMALL.items() for text in (f"--{name}", str(value))]


@pytest.fixture(scope="module")
def sphere_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ball of radius 2 about (10, 0, 0)."""
    ball = icosphere(4, radius=2.0, centre=(10, 0, 0))
    return meshes.write(tmp_path_factory.mktemp("meshes") / "ball.ply", ball.vertices, ball.faces)


@pytest.fixture(scope="module")
def trained(sphere_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "ball"
    assert cli.main(["train", "sdf", str(sphere_file), "--out", str(folder), "--steps", "400", *FLAGS]) == 0
    return folder


def test_a_ball_is_learnt_and_answers_in_its_own_frame(trained: Path) -> None:
    run = neural.load_run(trained, device="cpu")
    scores = json.loads((trained / "eval.json").read_text())
    assert scores["iou"] > 0.985 and scores["mae"]["near"] < 3e-3 and scores["sign"] == "parity"
    assert scores["normals_degrees"] < 22
    points = np.array([[10, 1.9, 0], [10, 0, 2.2], [8.0, 0, 0], [11.9, 0, 0]])
    np.testing.assert_allclose(run(points), np.linalg.norm(points - [10, 0, 0], axis=1) - 2, atol=0.12)
    far = np.array([[10.0, 30.0, 0.0]])
    assert run(far)[0] + 0.12 >= 28 and run(far)[0] < 29
    page = (trained / "report.html").read_text()
    assert "Turntable" in page and "IoU" in page and 'tag right">mesh<' in page


def test_eval_render_export_and_info(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("skimage", reason="marching cubes need scikit-image: pip install 'neural[mesh]'")
    assert cli.main(["eval", str(trained), "--resolution", "64"]) == 0
    assert capsys.readouterr().out.startswith("IoU 0.9")
    assert cli.main(["export", str(trained), str(tmp_path / "ball.obj"), "--resolution", "48"]) == 0
    surface = build(meshes.read(tmp_path / "ball.obj"), "ball")
    assert surface.closed and np.abs(np.linalg.norm(surface.vertices - [10, 0, 0], axis=1) - 2).max() < 0.15
    frames = tmp_path / "frames"
    assert cli.main(["render", str(trained), "--frames", "2", "--downscale", "10", "--out", str(frames)]) == 0
    assert len(list(frames.glob("*.png"))) == 2
    assert cli.main(["info", str(trained)]) == 0
    assert "IoU 0.9" in capsys.readouterr().out


def test_what_cannot_be_served_is_said(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command, message in (
        (["eval", str(trained), "--resolution", "20"], "a multiple of 8, got 20"),
        (["eval", str(trained), "--split", "test"], "--split means nothing"),
        (["render", str(trained), "--path", "train"], "has no photographs"),
        (["render", str(trained), "--downscale", "500"], "nothing is left"),
        (["export", str(trained), str(tmp_path / "a.ply"), "--resolution", "1"], "between 2 and 4096, got 1"),
        (["export", str(trained), str(tmp_path / "a.splat")], ".ply or .obj"),
        (["train", "sdf", "x.obj", "--sampling.near-share", "0.5"], "must leave points for anywhere"),
        (["train", "sdf", str(tmp_path / "gone.obj")], "cannot be read: No such file"),
    ):
        assert cli.main(command) != 0
        assert message in capsys.readouterr().err


def test_a_run_that_is_taken_up_has_the_same_bits(sphere_file: Path, tmp_path: Path) -> None:
    def train(folder: str, steps: int) -> None:
        arguments = ["train", "sdf", str(sphere_file), "--out", str(tmp_path / folder), "--steps", str(steps), *FLAGS]
        assert cli.main([*arguments, "--optim.decay", "none"]) == 0

    train("whole", 20)
    train("parts", 11)  # between two shards
    train("parts", 20)
    whole, parts = (checkpoint.load_latest(tmp_path / name).tensors for name in ("whole", "parts"))
    assert whole.keys() == parts.keys()
    for name, value in whole.items():
        assert torch.equal(value, parts[name]), name


def test_another_mesh_in_the_same_place_is_refused(sphere_file: Path, tmp_path: Path, capsys) -> None:
    path = tmp_path / "ball.ply"
    path.write_bytes(sphere_file.read_bytes())
    arguments = ["train", "sdf", str(path), "--out", str(tmp_path / "run"), "--steps", "2", *FLAGS]
    assert cli.main(arguments) == 0
    cube = box()
    meshes.write(path, cube.vertices, cube.faces)
    assert cli.main(["eval", str(tmp_path / "run")]) == 3
    assert "is not the mesh that was trained" in capsys.readouterr().err
    assert cli.main(arguments) == 3


def test_a_mesh_made_in_python_with_a_hole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ball = without(icosphere(3), [0, 1])
    config = SdfConfig(
        FieldConfig(n_levels=4, log2_hashmap_size=10, finest_resolution=32),
        SdfSamplingConfig(batch_size=512, shard_size=512),
        view=SdfViewConfig(1, 32, 32),
    )
    neural.train.sdf(ball, config=config, steps=3, out=tmp_path / "run", progress=False)
    assert "sign of the mesh by winding" in capsys.readouterr().out
    again = neural.load_run(tmp_path / "run", device="cpu", scene=ball)
    assert again.solid.name == "mesh" and not again.solid.closed


def test_a_sheet_is_refused_before_a_run_begins(tmp_path: Path) -> None:
    sheet = mesh_of([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], [[0, 1, 2], [0, 2, 3]])
    with pytest.raises(SceneFormatError, match="encloses nothing"):
        neural.train.sdf(sheet, steps=3, out=tmp_path / "run", progress=False)
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.fixture(scope="module")
def distance() -> MeshDistance:
    return MeshDistance(build(icosphere(3), "ball"))


def task(distance: MeshDistance, encoding: str = "hash", **optim) -> SdfTask:
    model = FieldConfig(encoding=encoding, n_levels=3, log2_hashmap_size=10, base_resolution=8, finest_resolution=32,
                        width=16)  # fmt: skip
    sampling = SdfSamplingConfig(batch_size=512, shard_size=1024, shards=2, shard_steps=4)
    config = resolve(SdfConfig(model, sampling, SdfOptimConfig(lr=1e-2, **optim)), "cpu")
    return SdfTask(build_field(config.model, 3, 1, seed=0), distance, config, torch.device("cpu"))


def test_samples_are_exact_on_their_sides_and_functions_of_the_step(distance: MeshDistance) -> None:
    config = SdfSamplingConfig(batch_size=800, shard_size=512, shards=3, shard_steps=2)
    samples = Samples(distance, config, seed=5)
    batches = {step: samples.draw(step) for step in range(7)}
    points, distances, n_surface = batches[6]
    assert len(points) == 800 and n_surface == 400 and not distances[:400].any()
    assert distance.unsigned(points[:400].numpy()).max() < 1e-6
    np.testing.assert_array_equal(distance.signed(points[400:].numpy()), distances[400:])
    assert 0.35 < (distances[400:700].abs() < 0.005).float().mean() < 0.9 and (distances[700:].abs() > 0.05).any()
    again = Samples(distance, config, seed=5).draw(5)
    assert all(torch.equal(a, b) for a, b in zip(again[:2], batches[5][:2], strict=True))
    assert not torch.equal(Samples(distance, config, seed=6).draw(5)[0], again[0])


def test_surface_points_are_spread_by_area() -> None:
    distance = MeshDistance(build(box((0, 0, 0), (4, 1, 1)), "beam"))
    points, faced = SurfacePoints(distance).draw_with_normals(18_000, step_generator(0, 0))
    ends = (faced[:, 0].abs() > 0.5).float().mean()
    assert float(ends) == pytest.approx(2 / 18, abs=2e-3)  # strata follow the area
    assert distance.unsigned(points.numpy()).max() < 1e-6


@pytest.mark.parametrize(
    "encoding", ["hash", "dense", "tiled", "frequency", "metric", "probed", "scalable", "triangle", "oneblob"]
)
@pytest.mark.parametrize("eikonal", [0.0, 0.1])
def test_every_encoding_learns(distance: MeshDistance, encoding: str, eikonal: float) -> None:
    trained = task(distance, encoding, eikonal=eikonal)
    losses = [trained.step(step, 80).loss for step in range(80)]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    assert {"test_iou", "test_mae"} == set(trained.validate(80))


@pytest.mark.parametrize("encoding", ["probed", "scalable"])
def test_a_ball_is_learnt_with_what_changes_its_entries_or_cells(distance: MeshDistance, encoding: str) -> None:
    given = parse(Sdf, SdfConfig, "sdf", ["there", *FLAGS, "--model.encoding", encoding])
    config = resolve(SdfConfig(given.model, given.sampling, given.optim), "cpu")
    trained = SdfTask(build_field(config.model, 3, 1, seed=0), distance, config, torch.device("cpu"))
    before = trained.validate(0)
    for step in range(150):
        trained.step(step, 150)
    after = trained.validate(150)
    assert after["test_iou"] > 0.9 > before["test_iou"]
    assert after["test_mae"] < 0.5 * before["test_mae"]


def test_the_eikonal_term_has_the_gradient_of_autograd(distance: MeshDistance) -> None:
    ours = task(distance, eikonal=0.5)
    points, distances, n_surface = ours.samples.draw(0)
    ours.fit(0).loss.backward()
    buffers = [ours.field.encoding.gradients.grad.clone(), ours.field.mlp.gradients.grad.clone()]
    ours.release()
    at = points[n_surface:].clone().requires_grad_()
    (slope,) = torch.autograd.grad(ours.field(at).sum(), at, create_graph=True)
    term = (slope.norm(dim=1) - 1).square().mean()
    (0.5 * term + ours._loss(ours.field(points)[:, 0] - distances, distances)).backward()
    for buffer, parameter in zip(buffers, (ours.field.encoding.table, ours.field.mlp.params), strict=True):
        torch.testing.assert_close(buffer, parameter.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("encoding", "eikonal"), [("hash", 0.0), ("probed", 0.1), ("scalable", 0.1)])
@pytest.mark.parametrize("threads", [2, 3])
def test_steps_have_the_same_bits_for_any_number_of_threads(
    distance: MeshDistance, threads: int, encoding: str, eikonal: float
) -> None:
    def run():
        trained = task(distance, encoding, eikonal=eikonal)
        for step in range(5):
            trained.step(step, 5)
        return [value.clone() for value in trained.tensors().values()]

    same_bits(run, (1, threads))
