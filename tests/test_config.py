"""Configuration: defaults resolved per device, files and flags, refusals with the nearest name, schedules."""

import dataclasses
import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neural import settings
from neural.train import schedules
from neural.train.tasks.capture.config import RunConfig
from neural.train.tasks.radiance.config import ModelConfig, OptimConfig, RadianceConfig, SamplingConfig, resolve


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("unbounded", [False, True])
def test_resolving_leaves_nothing_open(device, unbounded: bool) -> None:
    resolved = resolve(RadianceConfig(), device, unbounded=unbounded)
    assert settings.unresolved(resolved) == ["sampling.path", "run.minutes", "run.eval_every"]
    assert resolved.run.device == device
    assert resolve(resolved, device, unbounded=unbounded) == resolved  # idempotent


def test_cpu_and_gpu_get_their_own_sizes() -> None:
    cpu, gpu = (resolve(RadianceConfig(), device) for device in ("cpu", "cuda"))
    assert 15 <= cpu.model.log2_hashmap_size <= 17 < gpu.model.log2_hashmap_size == 19
    assert cpu.sampling.target_samples < gpu.sampling.target_samples == 1 << 18


def test_an_unbounded_scene_is_contracted_and_a_bounded_one_is_not() -> None:
    near, far = (resolve(RadianceConfig(), "cpu", unbounded=unbounded) for unbounded in (False, True))
    assert (near.model.contraction, near.sampling.cone_angle, near.sampling.cascades) == ("none", 0.0, 1)
    assert (far.model.contraction, far.sampling.cone_angle, far.sampling.cascades) == ("ball", 1 / 256, 4)


def test_given_values_are_kept() -> None:
    given = RadianceConfig(
        model=ModelConfig(log2_hashmap_size=15, contraction="none"),
        sampling=SamplingConfig(cone_angle=0.0),
        run=RunConfig(steps=77, background="black", eval_every=3),
    )
    resolved = resolve(given, "cuda", unbounded=True, background="white")
    assert resolved.model.log2_hashmap_size == 15
    assert resolved.model.contraction == "none"
    assert resolved.sampling.cone_angle == 0.0
    assert (resolved.run.steps, resolved.run.background, resolved.run.eval_every) == (77, "black", 3)


def test_background_follows_the_scene_and_is_white_without_one() -> None:
    assert resolve(RadianceConfig(), "cpu", background="black").run.background == "black"
    assert resolve(RadianceConfig(), "cpu").run.background == "white"


def test_minutes_leave_the_steps_to_the_warm_up() -> None:
    resolved = resolve(RadianceConfig(run=RunConfig(minutes=2.0)), "cpu")
    assert settings.unresolved(resolved) == ["sampling.path", "run.steps", "run.eval_every"]


def test_plain_values_round_trip_through_json() -> None:
    config = resolve(RadianceConfig(optim=OptimConfig(betas=(0.8, 0.95))), "cpu")
    plain = settings.to_plain(config)
    assert json.loads(json.dumps(plain)) == plain
    assert settings.from_plain(RadianceConfig, plain) == config


def test_a_toml_file_sets_what_it_names(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("[model]\nlog2_hashmap_size = 16\n[optim]\nbetas = [0.5, 0.9]\nlr = 1\n[run]\nsteps = 9\n")
    config = settings.read_toml(RadianceConfig, path)
    assert (config.model.log2_hashmap_size, config.optim.betas, config.optim.lr) == (16, (0.5, 0.9), 1.0)
    assert config.sampling == SamplingConfig()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[model]\nlog2_hashmapsize = 16", r"a\.toml: unknown key 'model\.log2_hashmapsize'; did"),
        ("[modle]\nx = 1", r"unknown key 'modle'; did you mean 'model'"),
        ("[model]\nzzz = 1", r"unknown key 'model\.zzz'; there are: encoding, "),
        ("model = 3", r"model is a group of keys, got 3"),
        ('[model]\nn_levels = "many"', r"model\.n_levels must be an integer or none, got 'many'"),
        ("[model]\nn_levels = true", r"model\.n_levels must be an integer or none, got True"),
        ("[optim]\nbetas = [0.9]", r"optim\.betas must be a list of a number, got \[0\.9\]"),
        ('[optim]\nloss = "l3"', r"optim\.loss must be 'huber' or 'l2', got 'l3'"),
        ("[optim]\nrandom_background = 1", r"random_background must be true or false, got 1"),
        ("[optim]\nlr = inf", r"--optim\.lr must be above 0 and finite, got inf"),
        ("[run]\nsteps = 0", r"--steps must be between 1"),
        ("[run]\nsteps = 5\nminutes = 1", r"--steps and --minutes exclude each other"),
        (
            "[model]\nbase_resolution = 64\nfinest_resolution = 32",
            r"finest-resolution must be between 64 and",
        ),
        ("[model]\ndensity_width = 48", r"density-width must be one of 16, 32, 64, 128, got 48"),
        ("[model", r"not valid TOML"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        settings.read_toml(RadianceConfig, path)


def test_a_missing_or_binary_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        settings.read_toml(RadianceConfig, tmp_path / "none.toml")
    (tmp_path / "b.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not valid TOML"):
        settings.read_toml(RadianceConfig, tmp_path / "b.toml")


def test_every_field_says_what_it_is() -> None:
    import ast
    import inspect

    from neural.train import config as base
    from neural.train.tasks.capture import config as capture
    from neural.train.tasks.radiance import config as radiance

    source = "\n".join(inspect.getsource(module) for module in (base, capture, radiance))
    groups = [node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)]
    assert [group.name for group in groups].index("RadianceConfig") == len(groups) - 1 == 5
    for group in groups[:-1]:
        for field, after in zip(group.body, [*group.body[1:], None], strict=True):
            if isinstance(field, ast.AnnAssign):
                assert isinstance(after, ast.Expr), f"{group.name}.{ast.unparse(field.target)} has no docstring"


@given(st.integers(1, 10_000), st.integers(0, 500), st.sampled_from(["milestones", "exponential", "none"]))
def test_the_step_size_rises_then_falls(steps: int, warmup: int, decay) -> None:
    config = OptimConfig(warmup_steps=warmup, decay=decay)
    rates = [schedules.learning_rate(step, steps, config) for step in range(0, steps, max(1, steps // 50))]
    assert all(0 < rate <= config.lr * (1 + 1e-12) for rate in rates)
    if decay != "milestones":  # there the fall may begin during a warm-up that is longer than half the run
        top = rates.index(max(rates))
        assert rates[: top + 1] == sorted(rates[: top + 1])
        assert rates[top:] == sorted(rates[top:], reverse=True)


def test_the_schedules_hit_their_marks() -> None:
    assert schedules.warm_up(0, 100) == 0.01
    assert schedules.warm_up(50, 100) == pytest.approx(0.505)
    assert schedules.warm_up(100, 100) == schedules.warm_up(0, 0) == 1.0
    marks = [schedules.milestones(step, 1000) for step in (0, 499, 500, 749, 750, 899, 900, 999)]
    assert marks == pytest.approx([1, 1, 0.33, 0.33, 0.33**2, 0.33**2, 0.33**3, 0.33**3])
    assert schedules.exponential(100, 1000, 0.1, start=100) == 1.0
    assert schedules.exponential(999, 1000, 0.1, start=100) == pytest.approx(0.1)
    assert schedules.learning_rate(999, 1000, OptimConfig()) == pytest.approx(1e-2 * 0.033)


def test_the_ray_count_converges_on_the_sample_budget() -> None:
    n_rays, per_ray = 1024, 23.7
    for _ in range(12):
        n_rays = schedules.ray_count(n_rays, int(n_rays * per_ray), 1 << 17, 1 << 14)
    assert n_rays * per_ray == pytest.approx(1 << 17, rel=0.03)
    assert schedules.ray_count(4096, 0, 1 << 17, 1 << 14) == 8192  # an empty step at most doubles it
    assert schedules.ray_count(1024, 10**9, 1 << 17, 1 << 14) == 64
    assert not math.isnan(schedules.ray_count(1, 1, 1, 1))


def test_configurations_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        RadianceConfig().run.steps = 3  # type: ignore[misc]
