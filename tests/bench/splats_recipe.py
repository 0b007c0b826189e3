"""Our trainer against gsplat's default recipe in plain torch: the same Gaussians, views and steps, no densification.

The peer is written here: torch.optim.Adam with gsplat's rates and schedule, 0.8 L1 + 0.2 (1 - SSIM), autograd through
gsplat 1.5.3's own torch projection and spherical harmonics where that package is installed, else through ours; blending
in plain torch (gsplat has none that runs without its CUDA build).
"""

import math
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from neural.cuda.reference import gaussian_blend, gaussian_color, gaussian_projection, gaussian_tiles, ssim
from neural.render.splats import View
from neural.train.tasks.capture.config import RunConfig
from neural.train.tasks.capture.photographs import BACKGROUNDS, photograph
from neural.train.tasks.splats.config import DensifyConfig, SplatModelConfig, SplatOptimConfig, SplatsConfig
from neural.train.tasks.splats.task import SplatsTask
from tests.bench import splats_runs
from tests.bench.harness import Row, Size, Spread, threads

try:
    from gsplat.cuda import _torch_impl as gsplat
except ImportError:
    gsplat = None

RATES = {
    "means": 1.6e-4, "quats": 1e-3, "log_scales": 5e-3, "opacity_logits": 5e-2, "sh0": 2.5e-3, "shN": 2.5e-3 / 20,
}  # fmt: skip
BAR = 0.2  # dB
SCENES = (("lego_400", 5, 800), ("drone_caliterra", 8, 800))  # downscale, Gaussians
STEPS = 300


def run(size: Size) -> list[Row]:
    rows = []
    scenes, steps = (SCENES, STEPS) if size == "full" else ((("city", 8, 60),), 4)
    for name, downscale, n in scenes:
        scene = splats_runs.capture(name, downscale, straight=True)
        if scene is None:
            rows.append(Row(f"{name}: below the recipe", None, "dB", at_most=BAR, note="needs NEURAL_DATA"))
            continue
        configs = [
            SplatsConfig(
                model=SplatModelConfig(max_gaussians=n, init_gaussians=n),
                densify=DensifyConfig(strategy="none"),
                optim=SplatOptimConfig(lr_scale=1.0, coarse=1, random_background=False, lazy=lazy),
                run=RunConfig(steps=steps, device="cpu"),
            )
            for lazy in (False, True)
        ]
        with threads(1):
            tasks = [splats_runs.task(scene, config) for config in configs]
            rows += _compare(f"{name}, 1/{downscale}, {n} Gaussians", *tasks, steps)
    return rows


def _compare(name: str, ours: SplatsTask, lazy: SplatsTask, steps: int) -> list[Row]:
    recipe = Recipe(ours, steps)
    before = splats_runs.held_out(ours)
    seconds = splats_runs.train(ours, steps)
    splats_runs.train(lazy, steps)
    began = time.process_time()
    for step in range(steps):
        recipe.step(step)
    of_recipe = (time.process_time() - began) / steps
    score, of_lazy, of_peer = splats_runs.held_out(ours), splats_runs.held_out(lazy), recipe.held_out()
    source = "gsplat's projection and colours" if gsplat else "our reference operations; gsplat is not installed"
    at_start = f"at the start {before:.2f}, {steps} steps, --optim.lazy false"
    paces = f"{1e3 * seconds:.1f} and {1e3 * of_recipe:.1f} ms of CPU time"
    return [
        Row(f"{name}: gsplat's recipe", Spread.of([of_peer]), "dB", note=source),
        Row(f"{name}: neural", Spread.of([score]), "dB", note=at_start),
        Row(f"{name}: neural, below the recipe", Spread.of([of_peer - score]), "dB", at_most=BAR),
        Row(f"{name}: lazy, below the recipe", Spread.of([of_peer - of_lazy]), "dB", note="moments wait where unseen"),
        Row(f"{name}: plain torch's step over ours", Spread.of([of_recipe / seconds]), "x", note=paces),
    ]


@dataclass
class Recipe:
    """gsplat's default training from the same first Gaussians, on the views that our trainer draws."""

    ours: SplatsTask
    steps: int

    def __post_init__(self) -> None:
        task = self.ours
        parameters = task.gaussians.named_parameters()
        self.values = {name: p.detach().clone().requires_grad_() for name, p in parameters}
        scale = {"means": task.extent}
        groups: list[dict[str, Any]] = [
            {"params": [p], "lr": RATES[name] * scale.get(name, 1.0), "name": name} for name, p in self.values.items()
        ]
        self.optimiser = torch.optim.Adam(groups, eps=1e-15)
        self.every = max(1, self.steps // 15)  # as our trainer; gsplat's 1000 are of 30 000
        self.background = torch.full((3,), BACKGROUNDS[task.config.run.background])

    def step(self, step: int) -> None:
        """Render, compare, follow the gradient; the rate of the centres falls to a hundredth."""
        taken = self.ours._views.draw(step, 1)
        image = self.image(self.ours._camera(1, taken.index), min(3, step // self.every))
        mask = taken.mask
        ssim.forward(image, taken.on(self.background), mask, 0.2).backward()
        for group in self.optimiser.param_groups:
            if group["name"] == "means":
                group["lr"] = RATES["means"] * self.ours.extent * 0.01 ** (step / self.steps)
        self.optimiser.step()
        self.optimiser.zero_grad()

    def image(self, view: View, degree: int) -> Tensor:
        """One view, [H, W, 3]."""
        v = self.values
        w2c, intrinsics = view.w2c.float(), view.intrinsics.float()
        project, color = (_gsplat_project, _gsplat_color) if gsplat else (_project, _color)
        means2d, conics, opacities, depths, extents = project(v, w2c, intrinsics, view)
        colors = color(v, -(w2c[:3, :3].T @ w2c[:3, 3]), degree)
        with torch.no_grad():
            opacities_shown = torch.where((extents > 0).all(1), opacities, 0.0)
            offsets, order, _ = gaussian_tiles.fill(means2d, conics, opacities_shown, depths, extents, view.size)
        planes, _ = gaussian_blend.forward(
            means2d, conics, opacities, colors, self.background, offsets, order, view.size
        )
        return planes.permute(1, 2, 0)

    @torch.no_grad()
    def held_out(self) -> float:
        """Mean PSNR of the test photographs."""
        task, scores = self.ours, []
        scene, cameras = task.scene, task.scene.cameras.relative_to(task.origin)
        for index in scene.splits["test"]:
            image = self.image(View.of(cameras, index, task.near), task.gaussians.sh_degree)
            target = photograph(scene, index, task.config.run.background).reshape(image.shape)
            scores.append(splats_runs.masked_psnr(scene, index, image, target))
        return sum(scores) / len(scores)


def _gsplat_project(v: dict[str, Tensor], w2c: Tensor, intrinsics: Tensor, view: View) -> tuple[Tensor, ...]:
    fx, fy, cx, cy = intrinsics.tolist()
    matrix = torch.tensor([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    covariances, _ = gsplat._quat_scale_to_covar_preci(v["quats"], v["log_scales"].exp(), True, False)
    radii, means2d, depths, conics, _ = gsplat._fully_fused_projection(
        v["means"], covariances, w2c[None], matrix[None], *view.size, near_plane=view.near
    )
    return means2d[0], conics[0], v["opacity_logits"].sigmoid(), depths[0], radii[0].float()


def _gsplat_color(v: dict[str, Tensor], centre: Tensor, degree: int) -> Tensor:
    coefficients = torch.cat([v["sh0"][:, None], v["shN"]], 1)
    return (gsplat._spherical_harmonics(degree, v["means"] - centre, coefficients) + 0.5).clamp_min(0)


def _project(v: dict[str, Tensor], w2c: Tensor, intrinsics: Tensor, view: View) -> tuple[Tensor, ...]:
    image = gaussian_projection.forward(
        v["means"], v["quats"], v["log_scales"], v["opacity_logits"], w2c, intrinsics, None, *view.size, view.near,
        math.inf, 0.3, False, 0, math.inf,
    )  # fmt: skip
    return image[:2].t(), image[2:5].t(), image[5], image[6], image[7:9].t()


def _color(v: dict[str, Tensor], centre: Tensor, degree: int) -> Tensor:
    return gaussian_color.forward(v["means"], centre, v["sh0"], v["shN"], None, degree)
