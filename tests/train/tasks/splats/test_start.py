"""Splats that start from a file: Gaussians to go on with, a point cloud, a mesh; each in the frame of the input."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from neural import cli, metrics
from neural.cameras import Cameras
from neural.errors import CheckpointError, SceneFormatError
from neural.gaussians.model import Gaussians
from neural.gaussians.order import rotations
from neural.scenes.capture import Points
from neural.scenes.files import mesh, ply
from neural.scenes.files.gaussians import formats
from neural.scenes.files.gaussians.ply import plain_ply
from neural.scenes.files.gaussians.record import SplatRecord
from neural.scenes.scene import Scene
from neural.train.tasks.capture.photographs import photograph
from neural.train.tasks.splats import run as splats_run
from neural.train.tasks.splats import start as splats_start
from neural.train.tasks.splats.build import build_gaussians
from neural.train.tasks.splats.config import SplatsConfig, resolve
from neural.train.tasks.splats.run import SplatRun
from neural.train.tasks.splats.sizes import PLY_HEADER
from neural.train.tasks.splats.task import SplatsTask
from tests import ball, splat_tasks

MOVED = np.eye(4)  # a frame of the files that is turned, scaled and far away
MOVED[:3, :3] = 0.25 * np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]])
MOVED[:3, 3] = (400, -300, 250)


def train(scene: Scene, out: Path, init: Path | str, **parts: dict[str, Any]) -> SplatRun:
    parts["model"] = {"init": str(init), "sh_degree": 1, "max_gaussians": 600} | parts.get("model", {})
    parts["densify"] = {"start": 10, "every": 10} | parts.get("densify", {})
    parts["optim"] = {"lr_scale": 10.0} | parts.get("optim", {})
    parts["run"] = {"steps": 100, "log_every": 20} | parts.get("run", {})
    return splats_run.splats(scene, config=splat_tasks.configured(**parts), out=out, progress=False)


def started(path: Path, scene: Scene, **model: Any) -> tuple[Gaussians, SplatsConfig]:
    """The Gaussians of step 0, as a run makes them, and its resolved configuration."""
    start = splats_start.read(path)
    config = resolve(
        splat_tasks.configured(model={"init": str(path), **model}), "cpu", n_points=start.count, start=start.kind,
        antialiased=start.antialiased,
    )  # fmt: skip
    return build_gaussians(config, scene, scene.aabb.mean(0), start), config


def psnr(task: SplatsTask, scene: Scene) -> float:
    values = [
        float(metrics.psnr(task.render(scene.cameras, i, "white"), photograph(scene, i, "white")))
        for i in scene.splits["test"]
    ]
    return sum(values) / len(values)


def write_ball(path: Path, n: int = 24) -> None:
    """The ball as a mesh with colours at its corners."""
    theta = np.linspace(0, np.pi, n + 1)[:, None]
    phi = np.linspace(0, 2 * np.pi, 2 * n, endpoint=False)[None]
    normals = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta) + 0 * phi], -1)
    lines = [
        "v " + " ".join(f"{v:.6f}" for v in (*(ball.RADIUS * normal), *ball.pattern(normal)))
        for normal in normals.reshape(-1, 3)
    ]
    for i in range(n):
        for j in range(2 * n):
            a, b = (1 + row * 2 * n + j for row in (i, i + 1))
            c, d = (1 + row * 2 * n + (j + 1) % (2 * n) for row in (i + 1, i))
            lines.append(f"f {a} {b} {c} {d}")
    path.write_text("\n".join(lines))


def in_files_frame(scene: Scene) -> Scene:
    """The same scene; what it was read from was elsewhere."""
    return replace(scene, world_to_scene=np.linalg.inv(MOVED))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> SplatRun:
    out = tmp_path_factory.mktemp("runs") / "first"
    return train(in_files_frame(ball.scene()), out, "random", run={"steps": 300})


@pytest.mark.parametrize("suffix", [".ply", ".splat"])
def test_a_run_goes_on_from_what_another_exported(trained: SplatRun, tmp_path: Path, suffix: str) -> None:
    """The first picture is the last one of the other run, whatever the frame of the file; then it gets better."""
    path = trained.export(tmp_path / f"a{suffix}")
    scene = trained.scene
    made, config = started(path, scene, sh_degree=1 if suffix == ".ply" else 0, max_gaussians=600)
    assert made.n == trained.gaussians.n
    task = SplatsTask(made, scene.aabb.mean(0), scene, config, torch.device("cpu"))
    for index in (0, 5):
        shown = task.render(scene.cameras, index, "white")
        before = trained.render_camera(scene.cameras, index, background="white").rgb.reshape(shown.shape)
        assert float((shown - before).abs().max()) < (0.01 if suffix == ".ply" else 0.15)
    assert psnr(task, scene) > 19
    after = train(scene, tmp_path / "run", path, run={"steps": 100}, optim={"lr_scale": 2.0})
    assert after.evaluate(progress=False).psnr > trained.evaluate(progress=False).psnr + 0.5


def test_what_is_learnt_is_shown_from_the_first_step_on(trained: SplatRun, tmp_path: Path) -> None:
    """Harmonics and photographs have their full size at once; a run from chance comes to them slowly."""
    path = trained.export(tmp_path / "a.ply")
    _, config = started(path, trained.scene)
    assert config.optim.sh_every == 0 and config.optim.coarse == 1 and config.optim.lr_scale == 1
    task = SplatsTask(*_parts(path, trained.scene))
    assert [task._degree(step, 1000) for step in (0, 1, 999)] == [3, 3, 3]
    assert task.step(0, 10).psnr > 18


def _parts(path: Path, scene: Scene) -> tuple[Gaussians, torch.Tensor, Scene, SplatsConfig, torch.device]:
    made, config = started(path, scene)
    return made, scene.aabb.mean(0), scene, config, torch.device("cpu")


@pytest.mark.parametrize("degree", range(4))
@pytest.mark.parametrize("wanted", range(4))
def test_harmonics_are_cut_or_raised(tmp_path: Path, degree: int, wanted: int) -> None:
    random = np.random.default_rng(0)
    arrays = [random.normal(size=(40, *shape)).astype(np.float32) for shape in ((3,), (4,), (3,), (), (3,))]
    shN = random.normal(size=(40, (degree + 1) ** 2 - 1, 3)).astype(np.float32)
    plain_ply.write(tmp_path / "a.ply", SplatRecord(*arrays, shN))
    made, _ = started(tmp_path / "a.ply", ball.scene(n=2, size=(8, 6)), sh_degree=wanted)
    assert made.sh_degree == wanted and made.n == 40
    known = (min(degree, wanted) + 1) ** 2 - 1
    source = plain_ply.read(tmp_path / "a.ply").shN[:, :known]
    got = made.shN.detach().numpy()
    assert sorted(map(tuple, got[:, :known].reshape(40, -1))) == sorted(map(tuple, source.reshape(40, -1)))
    assert not got[:, known:].any()
    torch.testing.assert_close(made.quats.norm(dim=1), torch.ones(40))


def test_only_so_many_are_taken_and_it_is_said(tmp_path: Path, capsys) -> None:
    """The faint and the small are left out."""
    n, scene = 300, ball.scene(n=4, size=(24, 18))
    made = Gaussians.from_points(torch.from_numpy(ball.surface(n).xyz).float(), torch.full((n, 3), 0.5), sh_degree=0)
    made.opacity_logits.data[::3] = -9.0
    made.log_scales.data[1::3] -= 5.0
    path = tmp_path / "many.ply"
    plain_ply.write(path, made.to_record())
    config = splat_tasks.configured(model={"init": str(path), "max_gaussians": 100}, run={"steps": 2})
    run = splats_run.splats(scene, config=config, out=tmp_path / "run", progress=True)
    said = capsys.readouterr().out
    assert "100 Gaussians from many.ply (the most visible of its 300; --model.max-gaussians or" in said
    assert run.gaussians.n == 100
    few, _ = started(path, scene, max_gaussians=100)
    assert float(few.opacity_logits.detach().min()) > -8
    everything, config = started(path, scene)
    assert everything.n == 300 and config.model.max_gaussians == 100_000


def test_a_file_larger_than_what_suits_the_device_is_taken_whole() -> None:
    asked = splat_tasks.configured(model={"init": "a.ply"})
    assert resolve(asked, "cpu", n_points=150_000, start="splats").model.max_gaussians == 150_000
    assert resolve(asked, "cpu", n_points=150_000, start="cloud").model.init_gaussians == 100_000
    target = splat_tasks.configured(model={"init": "a.ply", "target": "1MB"})
    most = (1_000_000 - PLY_HEADER) // 248
    assert resolve(target, "cpu", n_points=150_000, start="splats").model.init_gaussians == most


@pytest.mark.parametrize("ending", formats.ENDINGS)
def test_every_format_of_gaussians_is_started_from(tmp_path: Path, ending: str) -> None:
    made = Gaussians.from_points(torch.randn(60, 3), torch.rand(60, 3), sh_degree=2, antialiased=True)
    formats.write(tmp_path / f"a{ending}", made.to_record())
    again, config = started(tmp_path / f"a{ending}", ball.scene(n=2, size=(8, 6)), sh_degree=2)
    assert again.n == 60 and again.sh_degree == 2 and config.model.antialiased == (ending != ".splat")
    distances = (again.means.detach()[:, None] - made.means.detach()).abs().amax(2)
    assert float(distances.amin(0).max()) < 5e-3  # some formats have an order of their own


def test_marks_and_certain_opacities_are_taken_over(tmp_path: Path) -> None:
    scene = ball.scene(n=2, size=(8, 6))
    made = Gaussians.from_points(torch.randn(30, 3), torch.rand(30, 3), antialiased=True)
    made.opacity_logits.data[:10] = 80
    plain_ply.write(tmp_path / "a.ply", made.to_record())
    again, config = started(tmp_path / "a.ply", scene)
    assert again.antialiased and config.model.antialiased
    assert float(again.opacity_logits.detach().max()) == 10  # 80 has no gradient


@pytest.mark.parametrize("frame", [np.eye(4), MOVED], ids=["same", "moved"])
def test_a_cloud_starts_as_the_captures_own_points_do(tmp_path: Path, frame: np.ndarray) -> None:
    scene = ball.scene(points=200)
    assert scene.points is not None
    xyz = scene.points.xyz @ frame[:3, :3].T + frame[:3, 3]
    ply.write_points(tmp_path / "a.ply", xyz, scene.points.rgb)
    scene = replace(scene, world_to_scene=np.linalg.inv(frame))
    made, config = started(tmp_path / "a.ply", scene)
    assert config.model.init_gaussians == 200
    own = build_gaussians(resolve(splat_tasks.configured(), "cpu", n_points=200), scene, scene.aabb.mean(0))
    for name, value in own.named_parameters():
        torch.testing.assert_close(getattr(made, name), value, atol=1e-5, rtol=1e-5, msg=name)
    few, _ = started(tmp_path / "a.ply", scene, max_gaussians=50)
    assert few.n == 50


@pytest.mark.parametrize("frame", [np.eye(4), MOVED], ids=["same", "moved"])
@pytest.mark.parametrize("form", ["obj", "ply"])
def test_a_mesh_starts_on_its_surface(tmp_path: Path, frame: np.ndarray, form: str) -> None:
    write_ball(tmp_path / "a.obj")
    body = mesh.read(tmp_path / "a.obj")
    moved = body.vertices @ frame[:3, :3].T + frame[:3, 3]
    path = tmp_path / f"b.{form}"
    if form == "obj":
        values = np.concatenate([moved, body.rgb / 255], axis=1).tolist()
        rows = ["v " + " ".join(map(repr, row)) for row in values]
        path.write_text("\n".join([*rows, *("f " + " ".join(str(i + 1) for i in face) for face in body.faces)]))
    else:
        header = f"ply\nformat ascii 1.0\nelement vertex {len(moved)}\n"
        header += "".join(f"property double {axis}\n" for axis in "xyz")
        header += "".join(f"property uchar {c}\n" for c in ("red", "green", "blue"))
        header += f"element face {len(body.faces)}\nproperty list uchar int vertex_indices\nend_header\n"
        rows = [" ".join(map(str, [*map(float, v), *c])) for v, c in zip(moved, body.rgb, strict=True)]
        path.write_text(header + "\n".join([*rows, *("3 " + " ".join(map(str, face)) for face in body.faces)]))
    scene = replace(ball.scene(), world_to_scene=np.linalg.inv(frame))
    made, config = started(path, scene, max_gaussians=4000)
    assert made.n == 2000 and config.model.init_opacity == 0.5
    radius = made.means.detach().norm(dim=1)
    assert float(radius.max()) < ball.RADIUS + 1e-3 and float(radius.min()) > ball.RADIUS * 0.98
    normal = rotations(made.quats.detach())[:, :, 2]
    outward = made.means.detach() / radius[:, None]
    assert float((normal * outward).sum(1).abs().min()) > 0.98
    assert bool((made.log_scales[:, 2] < made.log_scales[:, 0] - 2).all())
    pattern = ball.pattern(outward.double().numpy())
    shown = 0.5 + 0.28209479 * made.sh0.detach().numpy()
    assert np.abs(shown - pattern).max() < 0.06
    spacing = math.sqrt(4 * math.pi * ball.RADIUS**2 / 2000)
    assert 0.5 * spacing < float(made.log_scales[:, 0].detach().exp().mean()) < 2 * spacing


def test_a_mesh_saves_steps(tmp_path: Path) -> None:
    write_ball(tmp_path / "a.obj")
    scene = ball.scene()
    few: dict[str, Any] = {"optim": {"lr_scale": 3.0}, "run": {"steps": 20}}
    from_mesh = train(scene, tmp_path / "mesh", tmp_path / "a.obj", **few).evaluate(progress=False).psnr
    chance = train(scene, tmp_path / "chance", "random", **few).evaluate(progress=False).psnr
    assert from_mesh > chance + 4, (from_mesh, chance)


def test_a_run_from_a_file_goes_on_from_any_folder(tmp_path: Path, monkeypatch) -> None:
    write_ball(tmp_path / "a.obj", 8)
    scene, out = ball.scene(n=4, size=(24, 18)), tmp_path / "run"
    monkeypatch.chdir(tmp_path)
    first = train(scene, out, "a.obj", run={"steps": 10})
    monkeypatch.chdir("/")
    again = train(scene, out, tmp_path / "a.obj", run={"steps": 10})  # all of them are done
    assert again.config.model.init == str((tmp_path / "a.obj").resolve())
    assert all(
        torch.equal(p, q) for p, q in zip(again.gaussians.parameters(), first.gaussians.parameters(), strict=True)
    )
    with pytest.raises(CheckpointError, match=r"model\.init"):
        train(scene, out, "random", run={"steps": 10})


def _points_file(path: Path, xyz: list[list[float]]) -> None:
    ply.write_points(path, np.array(xyz, np.float64).reshape(-1, 3), np.zeros((len(xyz), 3), np.uint8))


FAULTS: dict[str, tuple[list[list[float]], str]] = {
    "empty": ([], r"has 0 points in one place, expected two"),
    "one point": ([[1, 2, 3]], r"has 1 points in one place"),
    "one place": ([[1, 2, 3]] * 50, r"has 50 points in one place"),
    "NaN": ([[1, 2, 3], [1, math.nan, 3], [4, 5, 6]], r"point 1 is at \[1\.0, nan, 3\.0\] \(1 such\); remove them"),
    "far": ([[1, 2, 3], [1e15, 2, 3]], r"reaches 1e\+15 scene units from the scene's box"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named_before_a_run_begins(tmp_path: Path, fault: str) -> None:
    xyz, message = FAULTS[fault]
    _points_file(tmp_path / "a.ply", xyz)
    with pytest.raises(SceneFormatError, match=rf"a\.ply: {message}"):
        train(ball.scene(n=4, size=(24, 18)), tmp_path / "run", tmp_path / "a.ply")


def test_what_is_no_file_or_of_another_kind_is_named(tmp_path: Path, write_capture, smallest, capsys) -> None:
    capture = write_capture(tmp_path / "ball", n=4, size=(24, 18))
    command = ["train", "splats", str(capture), "--out", str(tmp_path / "run"), "--steps", "2", *smallest["splats"]]
    (tmp_path / "a.ply").write_bytes(b"hello")
    (tmp_path / "a.obj").write_bytes(b"v 0 0 0\n")
    (tmp_path / "a.splat").write_bytes(b"hello")
    for init, code, message in (
        (
            "poins",
            2,
            "--model.init must be auto, points, random or a file that ends in .ply, .splat, .spz, .sog, meta.json, "
            "lod-meta.json, .glb, .usdc, .usda, "
            ".obj, got 'poins'",
        ),
        (tmp_path / "gone.ply", 3, "gone.ply: cannot be read: No such file"),
        (tmp_path / "gone.splat", 3, "gone.splat: cannot be read: No such file"),
        (tmp_path / "a.ply", 3, "a.ply: not a PLY file"),
        (tmp_path / "a.obj", 3, "a.obj: has 1 corners but no faces"),
        (tmp_path / "a.splat", 3, "a.splat: has 5 bytes, expected a multiple of 32"),
    ):
        assert cli.main([*command, "--model.init", str(init)]) == code
        assert message in capsys.readouterr().err
    assert not (tmp_path / "run" / "config.json").exists()
    write_ball(tmp_path / "a.obj", 6)
    assert cli.main([*command, "--model.init", str(tmp_path / "a.obj")]) == 0
    assert "chosen: 150 Gaussians from the surface of a.obj, at most 300" in capsys.readouterr().out


def _around(box: np.ndarray) -> Cameras:
    """Two cameras that look at a box."""
    scene = ball.scene(n=2, size=(32, 24))
    c2w = scene.cameras.c2w.clone()
    c2w[:, :3, 3] *= float(np.ptp(box, axis=0).max()) / 1.6
    c2w[:, :3, 3] += torch.from_numpy(box.mean(0))
    return scene.cameras.posed(c2w)


@pytest.mark.parametrize(
    ("name", "kind", "n"),
    [("splats/biker.ply", "splats", 152_746), ("splats/playbot_lod3.ply", "splats", 31_000),
     ("meshes/spot.obj", "mesh", 0), ("meshes/stanford-bunny.obj", "mesh", 0)],
)  # fmt: skip
def test_real_files_are_started_from(neural_data: Path, name: str, kind: str, n: int) -> None:
    start = splats_start.read(neural_data / name)
    assert (start.kind, start.count) == (kind, n)
    content = start.content
    assert not isinstance(content, Points)
    places = content.means if isinstance(content, SplatRecord) else content.vertices
    box = np.stack([places.min(0), places.max(0)]).astype(np.float64)
    scene = replace(ball.scene(n=2, size=(32, 24)), cameras=_around(box), aabb=torch.from_numpy(box))
    made, config = started(neural_data / name, scene, init_gaussians=20_000)
    assert made.n == 20_000
    task = SplatsTask(made, scene.aabb.mean(0), scene, config, torch.device("cpu"))
    assert task.step(0, 10).extra["visible"] > 5_000
