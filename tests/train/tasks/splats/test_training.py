"""Trainings of splats from end to end on the CPU: what is learnt, from which start, through which lens."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import neural
from neural import checkpoint
from neural.cuda.gaussian_projection import project
from neural.errors import CheckpointError, DivergenceError, SceneFormatError
from neural.scenes.images import ImageStack
from neural.scenes.scene import Scene
from neural.train.tasks.splats import run as splats_run
from neural.train.tasks.splats.run import SplatRun
from neural.train.tasks.splats.task import SplatsTask
from tests import ball, splat_tasks


def train(scene: Scene, out: Path, **parts: dict[str, Any]) -> SplatRun:
    """A run of a second."""
    parts["model"] = {"max_gaussians": 500, "sh_degree": 1} | parts.get("model", {})
    parts["densify"] = {"start": 10, "every": 10} | parts.get("densify", {})
    parts["optim"] = {"lr_scale": 10.0} | parts.get("optim", {})
    parts["run"] = {"steps": 200, "log_every": 20} | parts.get("run", {})
    return splats_run.splats(scene, config=splat_tasks.configured(**parts), out=out, progress=False)


@pytest.fixture(scope="module")
def ball_run(tmp_path_factory: pytest.TempPathFactory, write_capture) -> SplatRun:
    """A finished run of the command line's function, shared by tests that only read it."""
    config = splat_tasks.configured(
        model={"max_gaussians": 500, "sh_degree": 1},
        densify={"start": 10, "every": 10},
        optim={"lr_scale": 10.0},
        run={"steps": 300},
    )
    capture = write_capture(tmp_path_factory.mktemp("captures") / "ball")
    return splats_run.train(capture, config, out=tmp_path_factory.mktemp("runs") / "ball", progress=False)


def test_a_ball_is_learnt_from_chance_with_its_shape(ball_run: SplatRun) -> None:
    scores = ball_run.evaluate(progress=False)
    assert scores.psnr > 20  # 7 dB for a white picture
    assert "(3 images, white, test)" in str(scores)
    assert ball_run.config.model.init == "random" and ball_run.gaussians.n == 500
    centre = 48 * 18 + 24
    seen = ball_run.render_camera(ball_run.scene.cameras, 0)
    assert seen.alpha[centre] > 0.95
    assert seen.alpha[0] < 0.05
    distance = float(ball_run.scene.cameras.origins[0].norm())
    assert float(seen.depth[centre] / seen.alpha[centre]) == pytest.approx(distance - ball.RADIUS, abs=0.25)


def test_scores_follow_the_background(ball_run: SplatRun) -> None:
    black = ball_run.evaluate(background="black", progress=False)
    assert "(3 images, black, test)" in str(black)
    assert black.psnr > 19  # random backgrounds in training: the emptiness is learnt, not painted


def test_a_stored_run_renders_what_the_run_did(ball_run: SplatRun) -> None:
    again = neural.load_run(ball_run.folder, device="cpu")
    left, right = (run.render_camera(run.scene.cameras, 4) for run in (again, ball_run))
    for part in ("rgb", "alpha", "depth"):
        assert torch.equal(getattr(left, part), getattr(right, part)), part
    assert again.evaluate(progress=False) == ball_run.evaluate(progress=False)
    assert again.facts() == {"Gaussians": "500"}


def test_a_run_leaves_scores_a_film_and_a_report(ball_run: SplatRun) -> None:
    assert json.loads((ball_run.folder / "eval.json").read_text())["n_images"] == 3
    page = (ball_run.folder / "report.html").read_text()
    for text in ("Gaussian splats, 300 steps", "500", "PSNR", "SSIM"):
        assert text in page, text
    assert (ball_run.folder / "orbit.mp4").stat().st_size > 1000


def test_a_checkpoint_without_gaussians_is_refused(ball_run: SplatRun, tmp_path: Path) -> None:
    last = checkpoint.load_latest(ball_run.folder)
    (tmp_path / "config.json").write_text((ball_run.folder / "config.json").read_text())
    tensors = {name: value for name, value in last.tensors.items() if name != "model/quats"}
    checkpoint.save(tmp_path, last.step, tensors, last.meta)
    with pytest.raises(CheckpointError, match=r"holds no Gaussians.*quats.*start anew"):
        neural.load_run(tmp_path, device="cpu")


@pytest.mark.parametrize("strategy", ["budget", "mcmc", "adaptive", "none"])
def test_a_ball_is_learnt_from_points_by_every_strategy(tmp_path: Path, strategy: str) -> None:
    scene = ball.scene(points=200)
    run = train(scene, tmp_path, densify={"strategy": strategy, "gradient": 1e-5}, run={"steps": 150})
    assert run.config.model.init == "points" and run.config.model.init_gaussians == 200
    assert run.gaussians.n == {"budget": 500, "mcmc": 500, "none": 200}.get(strategy, run.gaussians.n)
    assert strategy != "adaptive" or 200 < run.gaussians.n <= 500
    assert run.evaluate(progress=False).psnr > 20


@pytest.mark.parametrize("lens", ball.LENSES)
def test_a_ball_is_learnt_through_every_lens(tmp_path: Path, lens: str) -> None:
    """A picture that is learnt through the wrong lens does not fit the held-out ones."""
    run = train(ball.scene(points=400, lens=lens), tmp_path, run={"steps": 150})
    assert run.evaluate(progress=False).psnr > 21


def test_a_ball_with_its_sky_is_learnt(tmp_path: Path) -> None:
    run = train(ball.scene(world=True, points=300), tmp_path, run={"steps": 150})
    assert run.evaluate(split="train", progress=False).psnr > 18
    assert "(9 images, none, train)" in str(run.evaluate(split="train", progress=False))


def test_one_photograph_trains_without_scores(tmp_path: Path) -> None:
    scene = ball.scene(n=1)
    run = train(scene, tmp_path, run={"steps": 60})
    assert (tmp_path / "report.html").exists()
    assert not (tmp_path / "eval.json").exists()
    assert run.evaluate(split="train", progress=False).psnr > 15
    with pytest.raises(ValueError, match=r"the split 'test' of .* has no images"):
        run.evaluate()


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (5, 40), (33, 17), (17, 16)], ids=str)
@pytest.mark.parametrize("masks", [False, True])
def test_photographs_of_any_size_train(tmp_path: Path, size: tuple[int, int], masks: bool) -> None:
    run = train(ball.scene(n=4, size=size, masks=masks), tmp_path, run={"steps": 30})
    shown = run.render_camera(run.scene.cameras, 0)
    assert shown.rgb.shape == (size[0] * size[1], 3)
    assert bool(shown.rgb.isfinite().all())
    assert (tmp_path / "report.html").exists()


@pytest.mark.parametrize("points", [None, 0, 1, 99])
def test_a_capture_with_few_points_starts_from_chance(points: int | None, tmp_path: Path) -> None:
    scene = ball.scene(n=4, size=(24, 18), points=points)
    run = train(scene, tmp_path / "auto", run={"steps": 3})
    assert run.config.model.init == "random"
    if points == 99:
        asked = train(scene, tmp_path / "points", model={"init": "points"}, run={"steps": 3})
        assert asked.config.model.init_gaussians == 99
        return
    with pytest.raises(SceneFormatError, match=r"ball: no points to start from; use --model\.init random"):
        train(scene, tmp_path / "points", model={"init": "points"}, run={"steps": 3})
    assert not (tmp_path / "points" / "config.json").exists()


def test_photographs_of_different_sizes_train(tmp_path: Path) -> None:
    scene = ball.scene(n=3, size=(40, 30))
    assert scene.images is not None
    sizes = torch.tensor([[40, 30], [38, 30], [40, 27]])
    cut = [scene.images[i][:height, :width] for i, (width, height) in enumerate(sizes.tolist())]
    cameras = replace(scene.cameras, sizes=sizes)
    mixed = replace(scene, cameras=cameras, images=ImageStack.from_arrays(cut))
    assert train(mixed, tmp_path, run={"steps": 60}).evaluate(split="train", progress=False).psnr > 14


def test_masked_pixels_have_no_gradient() -> None:
    """Whatever is painted under the mask, the same scene is learnt, bit by bit; SSIM alone looks across its border."""
    scene = ball.scene(n=4, size=(49, 36), points=300, masks=True)
    assert scene.images is not None
    others = [image.copy() for image in scene.images]
    for image in others:
        image[:, : 49 // 3] = 255 - image[:, : 49 // 3]
    painted = replace(scene, images=ImageStack.from_arrays(others))
    config = splat_tasks.configured(
        model={"max_gaussians": 400}, densify={"start": 1, "every": 4},
        optim={"exposure": True, "refine_poses": True, "ssim_weight": 0.0, "coarse": 2, "coarse_share": 0.3},
    )  # fmt: skip
    one, other = (splat_tasks.task(s, config) for s in (scene, painted))
    for step in range(12):
        assert one.step(step, 20) == other.step(step, 20)
    left, right = one.tensors(), other.tensors()
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_a_photograph_that_is_masked_out_teaches_nothing() -> None:
    scene = ball.scene(n=4, size=(24, 18), points=300)
    hidden = replace(scene, masks=ImageStack.from_arrays([np.zeros((18, 24), np.uint8)] * 4))
    task = splat_tasks.task(hidden, splat_tasks.configured(densify={"strategy": "none"}))
    before = [p.detach().clone() for p in task.gaussians.parameters()]
    results = [task.step(step, 6) for step in range(4)]
    assert all(result.loss == 0 for result in results)
    assert all(torch.equal(p, q) for p, q in zip(task.gaussians.parameters(), before, strict=True))


def test_masked_pixels_are_not_learnt(tmp_path: Path) -> None:
    """The left third of every picture is red and masked out; without the mask it would be learnt."""
    run = train(ball.scene(masks=True), tmp_path, run={"steps": 150})
    picture = run.render_camera(run.scene.cameras, 1).rgb.reshape(36, 48, 3)[:, :16]
    red = (picture[..., 0] > 0.8) & (picture[..., 1] < 0.3) & (picture[..., 2] < 0.3)
    assert red.float().mean() < 0.05


def test_mcmc_lets_go_of_what_no_view_sees() -> None:
    """Its penalties are for all Gaussians; the budget's for those in view, as it counts views that do not see one."""
    scene = ball.scene(n=4, size=(24, 18), points=300)
    for strategy, falls in (("mcmc", True), ("budget", False)):
        task = splat_tasks.task(scene, splat_tasks.configured(densify={"strategy": strategy}))
        task.gaussians.means.data[7] = torch.tensor([0.0, 0.0, 1e4])
        before = float(task.gaussians.opacity_logits.detach()[7])
        for step in range(8):
            task.step(step, 1000)
        after = float(task.gaussians.opacity_logits.detach()[7])
        assert after < before - 0.1 if falls else after == before, strategy


def test_little_is_left_around_an_object(tmp_path: Path) -> None:
    """Masks show a ball before a sky; what they leave out stays hazy where it is ignored, and thin by default."""
    scene = ball.scene(world=True, points=300)
    y, x = np.mgrid[:36, :48]
    mask = (np.hypot(x - 23.5, y - 17.5) < 14).astype(np.uint8) * 255
    scene = replace(scene, masks=ImageStack.from_arrays([mask] * len(scene.cameras)))
    haze, scores = {}, {}
    for masks in ("ignore", "auto"):
        run = train(scene, tmp_path / masks, run={"steps": 200}, optim={"masks": masks}, model={"max_gaussians": 600})
        assert run.config.optim.masks == {"ignore": "ignore", "auto": "thin"}[masks]
        alphas = [run.render_camera(scene.cameras, i).alpha.reshape(36, 48)[mask == 0] for i in scene.splits["test"]]
        haze[masks] = float(torch.stack(alphas).mean())
        scores[masks] = run.evaluate(progress=False).psnr
    assert haze["auto"] < 0.6 * haze["ignore"]
    assert scores["auto"] > scores["ignore"] + 0.5


def test_exposure_finds_the_brightness_of_photographs(tmp_path: Path) -> None:
    """Every other photograph is darker by a half; the scene itself keeps the mean of what they show."""
    scene = ball.scene(n=8, world=True, points=300)
    assert scene.images is not None
    darker = [image // 2 if i % 2 else image for i, image in enumerate(scene.images)]
    mixed = replace(scene, images=ImageStack.from_arrays(darker), splits={"train": tuple(range(8)), "test": ()})
    config = splat_tasks.configured(
        model={"max_gaussians": 500, "sh_degree": 0}, densify={"start": 10, "every": 10},
        optim={"exposure": True, "exposure_lr": 0.02, "exposure_hold": 0.0},  # they differ by halves
    )  # fmt: skip
    task = splat_tasks.task(mixed, config)
    for step in range(150):
        task.step(step, 150)
    assert task._exposure is not None
    gains = torch.stack([task._exposure.matrix(i)[:, :3].diagonal().mean() for i in range(8)]).detach()
    assert float(gains.mean()) == pytest.approx(1, abs=1e-5)
    assert float(gains[0::2].min()) > float(gains[1::2].max()) + 0.1
    assert float(gains[0::2].mean() - gains[1::2].mean()) > 0.25


def test_exposures_that_are_alike_are_held() -> None:
    """All photographs are exposed alike: corrections only fit errors of the scene, and drift without the hold."""
    drifts = []
    for hold in (0.0, 0.2):
        config = splat_tasks.configured(
            model={"max_gaussians": 500, "sh_degree": 0}, densify={"start": 10, "every": 10},
            optim={"exposure": True, "exposure_lr": 0.02, "exposure_hold": hold},
        )  # fmt: skip
        task = splat_tasks.task(ball.scene(n=8, world=True, points=300), config)
        for step in range(150):
            task.step(step, 150)
        assert task._exposure is not None
        drifts.append(float(task._exposure.change.detach().square().sum((1, 2)).sqrt().mean()))
    assert drifts[1] < 0.75 * drifts[0]


def test_poses_are_refined_towards_the_right_ones() -> None:
    """A scene is learnt from the right poses and held; the camera that is moved then finds its way back."""
    scene = replace(ball.scene(n=8, world=True, points=400), splits={"train": tuple(range(8)), "test": ()})
    learning = splat_tasks.configured(optim={"lr_scale": 10.0, "lazy": True}, densify={"strategy": "none"})
    right = splat_tasks.task(scene, learning)
    for step in range(120):
        right.step(step, 120)
    wrong = scene.cameras.c2w.clone()
    wrong[3, :3, 3] += 0.08 * wrong[3, :3, 0]
    held = splat_tasks.configured(
        optim={"lr_scale": 1e-9, "refine_poses": True, "pose_lr": 1e-2}, densify={"strategy": "none"}
    )
    task = splat_tasks.task(replace(scene, cameras=scene.cameras.posed(wrong)), held)
    task.gaussians.load_state_dict(right.gaussians.state_dict())
    for step in range(200):
        task.step(step, 200)
    assert task._poses is not None
    moves = task._poses.tangent.detach()[:, 3]
    assert float(moves[3]) == pytest.approx(-0.08, abs=0.03)
    assert float(moves[[0, 1, 2, 4, 5, 6, 7]].abs().max()) < 0.03


class Poison:
    """Puts NaN into a parameter just before a step."""

    def __init__(self, step: int, name: str) -> None:
        self.step, self.name, self.original = step, name, SplatsTask.step

    def __call__(self, task: SplatsTask, step: int, steps: int | None) -> Any:
        if step == self.step:
            with torch.no_grad():
                getattr(task.gaussians, self.name).fill_(float("nan"))
        return self.original(task, step, steps)


@pytest.mark.parametrize("name", ["means", "quats", "log_scales", "opacity_logits", "sh0", "shN"])
def test_nan_stops_the_run_and_the_last_checkpoint_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    poison = Poison(9, name)
    monkeypatch.setattr(SplatsTask, "step", lambda *arguments: poison(*arguments))
    with pytest.raises(DivergenceError, match=rf"step (9|10): .*{name}"):
        train(
            ball.scene(n=4, size=(24, 18)), tmp_path, run={"steps": 20, "checkpoint_minutes": 1e-9},
            optim={"sh_every": 1},
        )  # fmt: skip
    last = checkpoint.load_latest(tmp_path)
    assert last.step == 9
    assert all(bool(t.isfinite().all()) for t in last.tensors.values() if t.is_floating_point())


def test_antialiasing_reaches_the_stored_run(tmp_path: Path) -> None:
    run = train(ball.scene(n=4, size=(24, 18)), tmp_path, model={"antialiased": True}, run={"steps": 10})
    again = neural.load_run(tmp_path, device="cpu", scene=run.scene)
    assert run.gaussians.antialiased and again.gaussians.antialiased
    left, right = (r.render_camera(run.scene.cameras, 1).rgb for r in (run, again))
    assert torch.equal(left, right)


def test_the_number_of_gaussians_never_passes_the_budget(tmp_path: Path) -> None:
    for strategy in ("budget", "mcmc", "adaptive"):
        run = train(
            ball.scene(points=150), tmp_path / strategy, model={"max_gaussians": 170},
            densify={"strategy": strategy, "every": 3, "start": 3, "gradient": 1e-8}, run={"steps": 40, "log_every": 1},
        )  # fmt: skip
        counts = [json.loads(line)["gaussians"] for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
        assert counts[0] == 150 and max(counts) <= 170 and run.gaussians.n > 160, strategy


def test_gaussians_are_kept_relative_to_the_middle_of_the_box(ball_run: SplatRun) -> None:
    """The origin is taken off and put back: camera 0 sees the ball's centre in the middle of its picture."""
    g = ball_run.gaussians
    posed = ball_run.scene.cameras.relative_to(ball_run.origin)
    seen = project(
        g.means, g.quats, g.log_scales, g.opacity_logits, posed[0].w2c[0], posed.intrinsics[0], (48, 36)
    )  # fmt: skip
    weights = seen.opacities.detach()
    middle = (seen.means2d.detach() * weights[:, None]).sum(0) / weights.sum()
    torch.testing.assert_close(middle, torch.tensor([24.0, 18.0]), atol=3.0, rtol=0)
