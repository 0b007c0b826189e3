"""Configuration of splats: what is chosen for device and scene, sizes of files, refusals by the flag's name."""

import ast
import dataclasses
import inspect
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neural import settings
from neural.errors import TooLarge
from neural.gaussians.model import Gaussians
from neural.scenes.files.gaussians.ply import plain_ply
from neural.train.tasks.capture.config import RunConfig
from neural.train.tasks.splats import config as splats_config
from neural.train.tasks.splats.config import (
    DensifyConfig,
    SplatModelConfig,
    SplatOptimConfig,
    SplatsConfig,
    resolve,
)
from neural.train.tasks.splats.sizes import BYTES_PER_SPLAT, PLY_HEADER, STATE_BYTES, parse_size

# Those that follow the steps or the strategy; see `resolve`.
OPEN = {"model.target", "densify.start", "densify.stop", "densify.gradient", "densify.reset", "optim.sh_every"}
OPEN |= {"run.minutes", "run.eval_every"}


def model(**fields: Any) -> SplatsConfig:
    return SplatsConfig(model=SplatModelConfig(**fields))


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("n_points", [0, 99, 100, 10_000_000])
def test_resolving_leaves_open_only_what_follows_the_run(device, n_points: int) -> None:
    resolved = resolve(SplatsConfig(), device, n_points=n_points)
    assert set(settings.unresolved(resolved)) <= OPEN
    assert resolved.run.device == device
    assert resolve(resolved, device, n_points=n_points) == resolved  # idempotent
    m = resolved.model
    assert m.init_gaussians is not None and m.max_gaussians is not None
    assert 2 <= m.init_gaussians <= m.max_gaussians
    assert m.init == ("points" if n_points >= 100 else "random")


def test_cpu_and_gpu_get_their_own_sizes() -> None:
    cpu, gpu = (resolve(SplatsConfig(), device) for device in ("cpu", "cuda"))
    assert (cpu.model.max_gaussians, gpu.model.max_gaussians) == (100_000, 1_000_000)
    assert cpu.optim.lr_scale is not None and cpu.optim.lr_scale > 1 == gpu.optim.lr_scale
    assert (cpu.optim.coarse, gpu.optim.coarse) == (2, 1)


@pytest.mark.parametrize(("side", "coarse"), [(1, 1), (191, 1), (192, 2), (4000, 2)])
def test_small_photographs_are_not_made_smaller(side: int, coarse: int) -> None:
    assert resolve(SplatsConfig(), "cpu", shorter_side=side).optim.coarse == coarse


@pytest.mark.parametrize(("masked", "expected"), [(0.0, "ignore"), (0.5, "ignore"), (0.51, "thin")])
def test_masks_of_an_object_leave_little_around_it(masked: float, expected: str) -> None:
    assert resolve(SplatsConfig(), "cpu", masked=masked).optim.masks == expected
    asked = SplatsConfig(optim=SplatOptimConfig(masks="empty"))
    assert resolve(asked, "cpu", masked=masked).optim.masks == "empty"


@pytest.mark.parametrize(("side", "coarse"), [(1, 1), (2, 2), (7, 4), (8, 8)])
def test_photographs_keep_a_pixel_however_coarse_they_are_asked_for(side: int, coarse: int) -> None:
    asked = SplatsConfig(optim=SplatOptimConfig(coarse=8))
    assert resolve(asked, "cpu", shorter_side=side).optim.coarse == coarse


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_a_target_is_as_many_gaussians_as_fit_into_the_file(degree: int) -> None:
    most = resolve(model(target="1MB", sh_degree=degree), "cpu").model.max_gaussians
    assert most is not None
    assert most * BYTES_PER_SPLAT[degree] + PLY_HEADER <= 1_000_000 < (most + 1) * BYTES_PER_SPLAT[degree] + PLY_HEADER


def test_a_file_of_a_target_is_not_larger(tmp_path: Path) -> None:
    most = resolve(model(target="300kB"), "cpu").model.max_gaussians
    assert most is not None
    path = tmp_path / "scene.ply"
    plain_ply.write(path, Gaussians.random(most, torch.tensor([[0.0, 0, 0], [1, 1, 1]]), antialiased=True).to_record())
    header = path.stat().st_size - most * BYTES_PER_SPLAT[3]
    assert path.stat().st_size <= 300_000
    assert header + len(str((1 << 31) - 1)) - len(str(most)) <= PLY_HEADER


@pytest.mark.parametrize("init", ["points", "random"])
def test_a_sky_counts_among_the_gaussians(init: str) -> None:
    resolved = resolve(model(max_gaussians=500, sky=200, init=init), "cpu", n_points=9000)
    assert resolved.model.init_gaussians == {"points": 300, "random": 150}[init]
    assert resolve(resolved, "cpu", n_points=9000) == resolved
    assert resolve(model(max_gaussians=500, sky=200, init_gaussians=500), "cpu").model.init_gaussians == 300
    whole = resolve(model(sky=200, init="a.ply"), "cpu", n_points=150_000, start="splats").model
    assert (whole.init_gaussians, whole.max_gaussians) == (150_000, 150_200)
    with pytest.raises(TooLarge, match=r"--model\.sky 499 leaves no room among 500 Gaussians"):
        resolve(model(max_gaussians=500, sky=499), "cpu")


def test_bytes_are_those_of_the_numbers_that_are_kept() -> None:
    for degree, harmonics in enumerate((1, 4, 9, 16)):
        values = 3 + 4 + 3 + 1 + 3 * harmonics  # place, rotation, scales, opacity, colour
        assert STATE_BYTES[degree] == 4 * values * 4  # with gradient and two moments
        assert BYTES_PER_SPLAT[degree] == 4 * (values + 3)  # with a normal that nobody reads


def test_the_smallest_budget_can_be_stored_and_read_again() -> None:
    for config in (model(max_gaussians=2), model(target="1")):
        resolved = resolve(config, "cpu", n_points=500)
        assert settings.from_plain(SplatsConfig, settings.to_plain(resolved)) == resolved


def test_given_values_are_kept() -> None:
    asked = SplatsConfig(
        model=SplatModelConfig(max_gaussians=70, init="random", init_gaussians=30, init_opacity=0.3, init_scale=2.0),
        densify=DensifyConfig(strategy="mcmc", start=3, stop=0.25),
        optim=SplatOptimConfig(coarse=4, lr_scale=2.0, depth=0.25),
        run=RunConfig(steps=77, background="black", eval_every=3),
    )
    resolved = resolve(asked, "cuda", n_points=5000, background="white")
    expected = dataclasses.replace(asked, run=dataclasses.replace(asked.run, device="cuda", downscale=1))
    assert dataclasses.replace(resolved, optim=asked.optim) == expected
    assert resolved.optim == dataclasses.replace(asked.optim, lazy=False, masks="ignore")


def test_more_points_than_gaussians_are_thinned_and_fewer_are_all_taken() -> None:
    assert resolve(model(max_gaussians=500), "cpu", n_points=9000).model.init_gaussians == 500
    assert resolve(model(max_gaussians=500), "cpu", n_points=300).model.init_gaussians == 300
    assert resolve(model(max_gaussians=500, init_gaussians=9000), "cpu").model.init_gaussians == 500


def test_minutes_leave_the_steps_to_the_warm_up() -> None:
    assert resolve(SplatsConfig(run=RunConfig(minutes=2.0)), "cpu").run.steps is None
    assert resolve(SplatsConfig(), "cpu").run.steps == 7000
    assert resolve(SplatsConfig(), "cuda").run.steps == 30_000


def test_plain_values_round_trip_through_json() -> None:
    config = resolve(model(target="10MB"), "cpu", n_points=1000)
    plain = settings.to_plain(config)
    assert json.loads(json.dumps(plain)) == plain
    assert settings.from_plain(SplatsConfig, plain) == config


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("10MB", 10e6), ("10 MB", 10e6), ("800kB", 8e5), ("800k", 8e5), ("1.5G", 1.5e9), (".5M", 5e5), ("4096", 4096),
        (" 4096 B ", 4096),
    ],
)  # fmt: skip
def test_sizes(text: str, size: float) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "0", "0MB", "-1MB", "MB", "10 apples", "10mb", "1e6", "nan", "inf", "1.2.3k", "."]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"--model\.target must be a size such as 10MB or 800kB, got"):
        model(target=text)


@given(st.integers(1, 10**9), st.sampled_from(["", "k", "M", "G"]), st.sampled_from(["", "B"]))
def test_a_size_is_its_number_times_its_unit(number: int, unit: str, byte: str) -> None:
    assert parse_size(f"{number} {unit}{byte}") == number * {"": 1, "k": 1e3, "M": 1e6, "G": 1e9}[unit]


@pytest.mark.parametrize(
    ("group", "fields", "message"),
    [
        ("model", {"max_gaussians": 1}, r"--model\.max-gaussians must be between 2 and"),
        ("model", {"max_gaussians": 1 << 31}, r"--model\.max-gaussians must be between 2 and"),
        ("model", {"max_gaussians": 9, "target": "1MB"}, r"--model\.max-gaussians and --model\.target exclude"),
        ("model", {"sh_degree": 4}, r"--model\.sh-degree must be between 0 and 3, got 4"),
        ("model", {"sh_degree": -1}, r"--model\.sh-degree must be between 0 and 3, got -1"),
        ("model", {"init_gaussians": -1}, r"--model\.init-gaussians must be between"),
        ("model", {"init_opacity": 1.0}, r"--model\.init-opacity must be between 0\.001 and 0\.999, got 1\.0"),
        ("model", {"init_scale": 0.0}, r"--model\.init-scale must be above 0"),
        ("densify", {"every": 0}, r"--densify\.every must be between 1"),
        ("densify", {"start": -1}, r"--densify\.start must be between 0"),
        ("densify", {"stop": 1.5}, r"--densify\.stop must be between 0\.0 and 1\.0, got 1\.5"),
        ("densify", {"gradient": 0.0}, r"--densify\.gradient must be above 0"),
        ("optim", {"lr_scale": float("nan")}, r"--optim\.lr-scale must be above 0 and finite, got nan"),
        ("optim", {"means_lr": float("inf")}, r"--optim\.means-lr must be above 0 and finite, got inf"),
        ("optim", {"pose_lr": -1.0}, r"--optim\.pose-lr must be above 0"),
        ("optim", {"betas": (0.9, 1.0)}, r"--optim\.betas must be between"),
        ("optim", {"ssim_weight": 1.1}, r"--optim\.ssim-weight must be between 0\.0 and 1\.0, got 1\.1"),
        ("optim", {"means_final": float("nan")}, r"--optim\.means-final must be between"),
        ("optim", {"views": 0}, r"--optim\.views must be between 1"),
        ("optim", {"coarse": 3}, r"--optim\.coarse must be 1, 2, 4 or 8, got 3"),
        ("optim", {"sh_every": -1}, r"--optim\.sh-every must be between 0"),
        (
            "model",
            {"init": "poins"},
            r"--model\.init must be auto, points, random or a file that ends in \.ply.*'poins'",
        ),
        ("run", {"steps": 5, "minutes": 1.0}, r"--steps and --minutes exclude each other"),
        ("run", {"steps": 0}, r"--steps must be between 1"),
    ],
)
def test_what_cannot_be_meant_is_refused_by_the_name_of_its_flag(group: str, fields: dict, message: str) -> None:
    kinds = {"model": SplatModelConfig, "densify": DensifyConfig, "optim": SplatOptimConfig, "run": RunConfig}
    with pytest.raises(ValueError, match=message):
        SplatsConfig(**{group: kinds[group](**fields)})


def test_a_target_and_a_number_are_refused_whatever_the_device() -> None:
    with pytest.raises(ValueError, match="exclude each other"):
        SplatsConfig(model=SplatModelConfig(max_gaussians=9, target="1MB"), run=RunConfig(device="cpu"))


def test_every_field_says_what_it_is() -> None:
    groups = [node for node in ast.parse(inspect.getsource(splats_config)).body if isinstance(node, ast.ClassDef)]
    assert len(groups) == 4
    for group in groups[:3]:
        for field, after in zip(group.body, [*group.body[1:], None], strict=True):
            if isinstance(field, ast.AnnAssign):
                assert isinstance(after, ast.Expr), f"{group.name}.{ast.unparse(field.target)} has no docstring"
