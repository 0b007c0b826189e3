"""Trainings from end to end on the CPU: what is learnt, what is refused, what a stored run gives back."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import neural
from neural import checkpoint, cli, log
from neural.encodings.hash_grid import HashGrid
from neural.errors import BadOption, CheckpointError, DivergenceError, SceneFormatError
from neural.fields.radiance import RadianceField
from neural.scenes.images import ImageStack
from neural.scenes.load import load
from neural.train.tasks.capture.config import RunConfig
from neural.train.tasks.radiance import run as radiance_run
from neural.train.tasks.radiance import task as radiance_task
from neural.train.tasks.radiance.config import ModelConfig, OptimConfig, RadianceConfig, SamplingConfig

ROOT = Path(__file__).resolve().parents[4]
GOLDEN = Path(__file__).with_name("goldens") / "city_loss.json"
CITY = RadianceConfig(
    model=ModelConfig(n_levels=8, log2_hashmap_size=14, finest_resolution=256, density_width=32, color_width=32),
    sampling=SamplingConfig(
        target_samples=1 << 14, initial_rays=512, occupancy_resolution=32, steps_per_box=128, occupancy_warmup=64
    ),
    run=RunConfig(steps=300, downscale=4, device="cpu", log_every=20),
)
BALL = RadianceConfig(
    model=ModelConfig(
        n_levels=6, log2_hashmap_size=12, base_resolution=8, finest_resolution=64, density_width=16, color_width=16,
        color_layers=1,
    ),
    sampling=SamplingConfig(
        target_samples=1 << 13, initial_rays=256, max_rays=2048, steps_per_box=96, occupancy_resolution=16,
        occupancy_interval=8, occupancy_warmup=32,
    ),
    optim=OptimConfig(warmup_steps=10, lr=2e-2),
    run=RunConfig(steps=300, device="cpu", log_every=10),
)  # fmt: skip
WORLD = replace(
    BALL,
    sampling=replace(BALL.sampling, steps_per_box=24, target_samples=1 << 15),
    run=replace(BALL.run, steps=120),
)


def train(scene: Path | str, out: Path, config: RadianceConfig, **run: Any) -> radiance_run.RadianceRun:
    return radiance_run.train(scene, replace(config, run=replace(config.run, **run)), out=out, progress=False)


def city_losses(out: Path) -> tuple[float, list[float]]:
    run = train(ROOT / "data" / "city", out, CITY)
    return json.loads((run.folder / "eval.json").read_text())["mean"]["psnr"], [x["loss"] for x in log.read(out)]


@pytest.fixture(scope="module")
def ball(tmp_path_factory: pytest.TempPathFactory, write_capture) -> Path:
    return write_capture(tmp_path_factory.mktemp("captures") / "ball")


@pytest.fixture(scope="module")
def ball_run(ball: Path, tmp_path_factory: pytest.TempPathFactory) -> radiance_run.RadianceRun:
    """A finished run of the command line's function, shared by tests that only read it."""
    return train(ball, tmp_path_factory.mktemp("runs") / "ball", BALL)


def test_the_demo_scene_is_learnt_along_the_frozen_curve(tmp_path: Path) -> None:
    psnr, losses = city_losses(tmp_path / "run")
    assert psnr > 20.0  # at a quarter of its size; more comes in the demo's two minutes
    golden = json.loads(GOLDEN.read_text())
    np.testing.assert_allclose(losses[:3], golden[:3], rtol=0.01)
    np.testing.assert_allclose(losses, golden, rtol=0.08)  # instruction sets round differently, and it adds up


def test_a_ball_is_learnt_with_its_shape(ball_run: radiance_run.RadianceRun) -> None:
    scores = ball_run.evaluate(progress=False)
    assert scores.psnr > 20
    assert str(scores).startswith(f"mean PSNR {scores.psnr:.2f} dB SSIM")
    assert "(3 images, white, test)" in str(scores)
    centre = 48 * 18 + 24
    seen = ball_run.render_camera(ball_run.scene.cameras, 0)
    assert seen.alpha[centre] > 0.98
    assert seen.alpha[0] < 0.02
    distance = float(ball_run.scene.cameras.origins[0].norm())
    assert float(seen.depth[centre]) == pytest.approx(distance - 0.8, abs=0.1)  # the ball's near side


def test_scores_follow_the_background(ball_run: radiance_run.RadianceRun) -> None:
    photo = radiance_task.photograph(ball_run.scene, 0, "black")
    assert photo[0, 0].max() == 0
    assert radiance_task.photograph(ball_run.scene, 0, "white")[0, 0].min() == 1
    black = ball_run.evaluate(background="black", progress=False)
    assert "(3 images, black, test)" in str(black)
    assert black.psnr > 20  # random backgrounds in training: the emptiness is learnt, not painted


def test_a_stored_run_renders_what_the_run_did(ball_run: radiance_run.RadianceRun) -> None:
    again = neural.load_run(ball_run.folder, device="cpu")
    left, right = (run.render_camera(run.scene.cameras, 4) for run in (again, ball_run))
    for part in ("rgb", "alpha", "depth"):
        assert torch.equal(getattr(left, part), getattr(right, part)), part
    one, other = (run.evaluate(progress=False) for run in (again, ball_run))
    assert one == other


def test_a_device_that_does_not_exist_is_refused(ball_run: radiance_run.RadianceRun) -> None:
    with pytest.raises(ValueError, match="device must be auto, cpu or cuda, got 'tpu'"):
        neural.load_run(ball_run.folder, device="tpu")  # type: ignore[arg-type]


def test_a_run_in_half_precision_scores_the_same_when_taken_up(ball: Path, tmp_path: Path) -> None:
    config = replace(BALL, model=replace(BALL.model, table_precision="float16"))
    run = train(ball, tmp_path / "run", config, steps=60)
    assert neural.load_run(run.folder, device="cpu").evaluate(progress=False) == run.evaluate(progress=False)


def test_masked_pixels_are_not_learnt(tmp_path: Path, write_capture) -> None:
    """The left third of every picture is red and masked out; without the mask it would be learnt."""
    capture = write_capture(tmp_path / "ball", masks=True)
    run = train(capture, tmp_path / "run", BALL, steps=120)
    picture = run.render_camera(run.scene.cameras, 1).rgb.reshape(36, 48, 3)[:, :16]
    red = (picture[..., 0] > 0.8) & (picture[..., 1] < 0.3) & (picture[..., 2] < 0.3)
    assert red.float().mean() < 0.05


def test_an_unbounded_scene_is_learnt_with_its_sky(tmp_path: Path, write_capture) -> None:
    capture = write_capture(tmp_path / "world", world=True, size=(32, 24))
    run = train(capture, tmp_path / "run", WORLD)
    assert run.config.model.contraction == "ball"
    assert run.occupancy.n_cascades == 4
    assert run.evaluate(split="train", progress=False).psnr > 19  # nine views do not tell how far a sky is
    sky = run.render_camera(run.scene.cameras, 1)
    assert float(sky.alpha.min()) > 0.5  # random backgrounds: opaque photographs want opaque pixels


class Poison:
    """Puts NaN into a tensor of the task just before a step."""

    def __init__(self, step: int, name: str) -> None:
        self.step, self.name, self.original = step, name, radiance_task.RadianceTask.step

    def __call__(self, task: radiance_task.RadianceTask, step: int, steps: int | None) -> Any:
        if step == self.step:
            parameter = dict(task.field.named_parameters())[self.name]
            with torch.no_grad():
                parameter.fill_(float("nan"))
        return self.original(task, step, steps)


@pytest.mark.parametrize("name", ["encoding.table", "density_mlp.params", "color_mlp.params"])
def test_nan_stops_the_run_and_the_last_checkpoint_is_whole(
    ball: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    poison = Poison(9, name)
    monkeypatch.setattr(radiance_task.RadianceTask, "step", lambda *arguments: poison(*arguments))
    with pytest.raises(DivergenceError, match=rf"step 9: .*{name}.*Lower --optim\.lr"):
        train(ball, tmp_path, BALL, steps=20, checkpoint_minutes=1e-9)
    last = checkpoint.load_latest(tmp_path)
    assert last.step == 9
    assert all(bool(torch.isfinite(t).all()) for t in last.tensors.values() if t.is_floating_point())


@pytest.mark.parametrize("path", ["fused", "unfused"])
def test_a_step_with_too_many_samples_leaves_rays_out(ball: Path, tmp_path: Path, monkeypatch, path: Any) -> None:
    """Far more rays than the budget holds: the step is cut at 4 budgets, and the next has fewer rays."""
    seen = []
    module, name = (radiance_task.fused, "train_step") if path == "fused" else (radiance_task, "trace")
    original = getattr(module, name)

    def spy(field: Any, rays: Any, *arguments: Any, **options: Any) -> Any:
        traced = original(field, rays, *arguments, **options)
        seen.append((len(rays), traced.n_rays, traced.n_marched))
        return traced

    monkeypatch.setattr(module, name, spy)
    sampling = replace(BALL.sampling, target_samples=512, initial_rays=2048, path=path)
    train(ball, tmp_path, replace(BALL, sampling=sampling), steps=3)
    rays, kept, marched = seen[0]
    assert rays == 2048
    assert 0 < kept < rays
    assert marched <= 4 * 512
    assert seen[1][0] < rays


def test_one_photograph_trains_without_scores(ball: Path, tmp_path: Path) -> None:
    one = replace(load(ball).subset([1]), splits={"train": (0,), "test": ()})
    run = neural.train.radiance(small_field(one.aabb), one, config=BALL, steps=20, out=tmp_path, progress=False)
    assert (tmp_path / "report.html").exists()
    assert not (tmp_path / "eval.json").exists()
    with pytest.raises(BadOption, match="the split 'test' of ball has no images"):
        run.evaluate()


def test_no_photograph_to_train_on_is_refused_before_a_run_begins(ball: Path, tmp_path: Path) -> None:
    scene = load(ball)
    for empty in (replace(scene, splits={"train": (), "test": (0,)}), replace(scene, images=None)):
        with pytest.raises(SceneFormatError, match="ball: no images to train on"):
            neural.train.radiance(small_field(scene.aabb), empty, steps=2, out=tmp_path / "run", progress=False)
    assert not (tmp_path / "run" / "config.json").exists()


def small_field(aabb: Tensor, **options: Any) -> RadianceField:
    grid = HashGrid(3, n_levels=4, log2_hashmap_size=12, base_resolution=8, finest_resolution=48)
    return RadianceField(grid, aabb=aabb, **{"density_width": 16, "color_width": 16, **options})


def test_a_field_of_your_own(ball: Path, tmp_path: Path) -> None:
    scene = load(ball)
    field = small_field(scene.aabb)
    before = field.encoding.table.detach().clone()
    run = neural.train.radiance(field, scene, config=BALL, steps=200, out=tmp_path, progress=False)
    assert run.evaluate(progress=False).psnr > 15
    assert not torch.equal(field.encoding.table, before)
    assert field.encoding.gradients is None  # given back as it came: autograd works on it as before
    field.density(torch.zeros(4, 3))[0].sum().backward()
    assert field.encoding.table.grad is not None

    with pytest.raises(CheckpointError, match=r"load_run\(\.\.\., field=\)"):
        neural.load_run(tmp_path)
    with pytest.raises(CheckpointError, match=r"color_mlp\.params must be"):
        neural.load_run(tmp_path, field=small_field(scene.aabb, color_width=32))
    again = neural.load_run(tmp_path, field=small_field(scene.aabb), device="cpu")
    left, right = (r.render_camera(scene.cameras, 2).rgb for r in (run, again))
    assert torch.equal(left, right)
    with pytest.raises(CheckpointError, match=r"color_mlp\.params must be"):  # nor does another field go on with it
        neural.train.radiance(
            small_field(scene.aabb, color_width=32), scene, config=BALL, steps=210, out=tmp_path, progress=False
        )


def test_a_scene_changed_in_python_must_be_given_again(ball: Path, tmp_path: Path) -> None:
    scene = load(ball).normalised(radius=3.0)
    field = small_field(scene.aabb)
    neural.train.radiance(field, scene, config=BALL, steps=5, out=tmp_path, progress=False)
    with pytest.raises(CheckpointError, match=r"load_run\(\.\.\., scene=\)"):
        neural.load_run(tmp_path, field=small_field(scene.aabb))
    again = neural.load_run(tmp_path, field=small_field(scene.aabb), scene=scene)
    assert again.scene is scene


def test_an_appearance_per_image_is_learnt(ball: Path, tmp_path: Path) -> None:
    model = replace(BALL.model, appearance_dims=3)
    config = replace(BALL, model=model, optim=replace(BALL.optim, exposure=True))
    run = train(ball, tmp_path, config, steps=20)
    assert run.field.appearance.shape == (9, 3)
    tensors = checkpoint.load_latest(tmp_path).tensors
    assert tensors["model/appearance"].abs().max() > 0
    assert tensors["model/exposure"].abs().max() > 0


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda run: (run / "config.json").unlink(), "not a run"),
        (lambda run: edit(run, task="cubes"), "unknown task"),
        (lambda run: edit(run, model={"n_levels": "many"}), "n_levels"),
        (lambda run: edit(run, box=[[0, 0, 0], [1, 1, 1]]), "not the scene that was trained"),
        (lambda run: [p.write_bytes(b"x" * 9) for p in run.glob("checkpoints/*/tensors.safetensors")], "no checkpoint"),
        (lambda run: drop(run, "occupancy/bitfield"), "no occupancy/bitfield"),
        (lambda run: of_version(run, 99), "version 99, this neural reads version 1"),
        (lambda run: drop(run, "model/color_mlp.params"), "color_mlp.params"),
    ],
)
def test_a_damaged_run_is_refused_with_one_line(ball: Path, tmp_path: Path, damage, message: str, capsys) -> None:
    train(ball, tmp_path, BALL, steps=2)
    damage(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        neural.load_run(tmp_path)
    capsys.readouterr()
    assert cli.main(["eval", str(tmp_path)]) == 3
    printed = capsys.readouterr().err
    assert message in printed
    assert "Traceback" not in printed


def edit(run: Path, **changes: Any) -> None:
    stored = json.loads((run / "config.json").read_text())
    for key, value in changes.items():
        stored[key] = {**stored[key], **value} if isinstance(value, dict) else value
    (run / "config.json").write_text(json.dumps(stored))


def of_version(run: Path, version: int) -> None:
    for path in run.glob("checkpoints/*/meta.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "version": version}))


def drop(run: Path, name: str) -> None:
    """Saves the last checkpoint again without one tensor."""
    last = checkpoint.load_latest(run)
    left = {key: tensor for key, tensor in last.tensors.items() if key not in (name, name.replace("model/", "ema/"))}
    checkpoint.save(run, last.step, left, last.meta)


def test_a_scene_that_is_gone_is_named(ball: Path, tmp_path: Path, write_capture) -> None:
    capture = write_capture(tmp_path / "moved", n=4)
    train(capture, tmp_path / "run", BALL, steps=2)
    capture.rename(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match=r"moved, is not there; put it back"):
        neural.load_run(tmp_path / "run")


def test_images_in_memory_train_too(ball: Path, tmp_path: Path) -> None:
    """Photographs of different sizes, made in Python."""
    scene = load(ball)
    small, large = scene.downscaled(2), scene
    pictures = [(small if i % 2 else large).images[i] for i in range(len(scene.cameras))]
    sizes = torch.stack([(small if i % 2 else large).cameras.sizes[i] for i in range(len(scene.cameras))])
    lenses = torch.stack([(small if i % 2 else large).cameras.intrinsics[i] for i in range(len(scene.cameras))])
    cameras = replace(scene.cameras, sizes=sizes, intrinsics=lenses)
    mixed = replace(scene, path=None, name="mixed", cameras=cameras, images=ImageStack.from_arrays(pictures))
    run = neural.train.radiance(small_field(mixed.aabb), mixed, config=BALL, steps=200, out=tmp_path, progress=False)
    assert run.evaluate(progress=False).psnr > 15
    with pytest.raises(CheckpointError, match=r"mixed, is not there; .*load_run\(\.\.\., scene=\)"):
        neural.load_run(tmp_path, field=small_field(mixed.aabb))
    assert neural.load_run(tmp_path, field=small_field(mixed.aabb), scene=mixed).scene is mixed


if __name__ == "__main__":  # the golden curve, made anew: python tests/train/tasks/radiance/test_training.py
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        reached, curve = city_losses(Path(folder) / "run")
    GOLDEN.write_text(json.dumps([round(loss, 6) for loss in curve]) + "\n")
    print(f"{reached:.2f} dB; {GOLDEN} written")
