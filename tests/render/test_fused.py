"""The fused path against the op-by-op path: values to a few roundings, gradients, and that neither threads nor company
change a bit."""

import math
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from neural.cuda import fused as kernels
from neural.cuda import ray_march
from neural.cuda.gradients import GradientBuffer
from neural.encodings.hash_grid import HashGrid
from neural.encodings.pooled_table import PooledTable
from neural.encodings.simplex import Permutohedral, Simplex
from neural.fields.radiance import RadianceField
from neural.losses import huber, l2
from neural.rays import Rays
from neural.render import fused
from neural.render.occupancy import OccupancyGrid
from neural.render.rendering import Marching, Traced
from neural.render.volume import render_rays, trace
from tests.threads import same_bits

BOX = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])
BACKGROUND = torch.tensor([0.2, 0.5, 0.9])


def make_field(*, seed: int = 0, opaque: float = 3.0, **options: Any) -> RadianceField:
    """A field of clouds: features of about 1, so that density and colour vary from cell to cell."""
    grid_options = {name: options.pop(name) for name in ("precision", "interpolation", "outside") if name in options}
    sizes = {"n_levels": 5, "log2_hashmap_size": 10, "base_resolution": 4, "finest_resolution": 40, "seed": seed}
    lattice = options.pop("lattice", None)
    if lattice is None:
        grid: nn.Module = HashGrid(3, **sizes, **grid_options)
    else:
        grid = Permutohedral(3, **sizes) if lattice == "permutohedral" else Simplex(3, lattice=lattice, **sizes)
    field = RadianceField(
        grid, aabb=BOX, density_width=16, color_width=32, geo_features=7, sh_degree=3, density_bias=opaque, seed=seed,
        **options,
    )  # fmt: skip
    with torch.no_grad():
        grid.table.mul_(1e4)
    return field


def make_occupancy(*, step: float = 0.02, cascades: int = 1, share: float = 0.5) -> OccupancyGrid:
    """Random occupancy of 2^3 blocks."""
    grid = OccupancyGrid(centre=(0, 0, 0), half_extent=1.0, min_step=step, seed=0, n_cascades=cascades, resolution=16)
    bits = torch.rand(grid.bitfield.shape, generator=torch.Generator().manual_seed(3)) < share
    grid.bitfield.copy_(torch.where(bits, 255, 0))
    return grid


def make_rays(n: int = 300) -> Rays:
    generator = torch.Generator().manual_seed(1)
    origins = torch.nn.functional.normalize(torch.randn(n, 3, generator=generator), dim=1) * 2.5
    aims = torch.rand(n, 3, generator=generator) * 1.6 - 0.8
    return Rays(origins, torch.nn.functional.normalize(aims - origins, dim=1))


FORMS: dict[str, tuple[dict[str, Any], dict[str, Any], Marching]] = {
    "plain": ({}, {}, Marching()),
    "fog": ({"opaque": -2.0}, {"share": 1.0}, Marching(early_stop=0.0)),
    "unbounded": (
        {"contraction": "ball", "density_activation": "softplus"}, {"cascades": 3}, Marching(1 / 64, 0.3, 1e-3)
    ),
    "half": ({"precision": "float16", "interpolation": "smoothstep"}, {}, Marching()),
    "simplex": ({"lattice": "skewed"}, {}, Marching()),
    "permutohedral": ({"lattice": "permutohedral"}, {}, Marching()),
    "bfloat16": ({"precision": "bfloat16", "outside": "zero"}, {}, Marching(near=0.5)),
}  # fmt: skip


@pytest.fixture(params=list(FORMS))
def form(request: pytest.FixtureRequest) -> tuple[RadianceField, OccupancyGrid, Marching]:
    field, occupancy, marching = FORMS[request.param]
    return make_field(**field), make_occupancy(**occupancy), marching


def both(form: tuple, rays: Rays, **options: Any) -> tuple[Traced, Traced]:
    return trace(form[0], rays, *form[1:], background=BACKGROUND, **options), trace(
        form[0], rays, *form[1:], background=BACKGROUND, path="fused", **options
    )


def same(a: Traced, b: Traced) -> None:
    for name in ("rgb", "alpha", "depth"):
        torch.testing.assert_close(getattr(a.rendering, name), getattr(b.rendering, name), atol=3e-6, rtol=1e-5)
    assert (a.n_marched, a.n_shaded, a.n_rays, a.healthy) == (b.n_marched, b.n_shaded, b.n_rays, b.healthy)


def test_shows_what_the_ops_show(form: tuple, isa: str) -> None:
    rays = make_rays()
    with torch.no_grad():
        unfused, one_pass = both(form, rays, jitter=(0, 3))
    assert unfused.n_shaded > 1000
    same(unfused, one_pass)
    seen = render_rays(form[0], rays, *form[1:], background=BACKGROUND, path="fused")
    wanted = trace(form[0], rays, *form[1:], background=BACKGROUND).rendering
    torch.testing.assert_close(seen.rgb, wanted.rgb, atol=3e-6, rtol=1e-5)
    torch.testing.assert_close(seen.depth, wanted.depth, atol=3e-6, rtol=1e-5)


def gradients(field: RadianceField) -> dict[str, Tensor]:
    found = {name: p.grad.clone() for name, p in field.named_parameters() if p.grad is not None}
    field.zero_grad()
    return found


def assert_near(actual: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert actual.keys() == wanted.keys() and wanted
    for name, grad in wanted.items():
        assert bool(grad.any())
        assert float((actual[name] - grad).norm() / grad.norm()) < 1e-5, name


def test_gradients_are_those_of_the_ops(form: tuple, isa: str) -> None:
    rays = make_rays()
    upstream = [torch.randn(shape, generator=torch.Generator().manual_seed(2)) for shape in ((300, 3), (300,), (300,))]
    found = []
    for traced in both(form, rays, jitter=(0, 3), max_samples=20_000):
        shown = traced.rendering
        torch.autograd.backward((shown.rgb, shown.alpha, shown.depth), upstream)
        found.append(gradients(form[0]))
    assert_near(found[1], found[0])


def with_buffers(field: RadianceField) -> list[nn.Module]:
    modules: list[nn.Module] = [field.encoding, field.density_mlp, field.color_mlp]
    for module in modules:
        parameter = module.table if isinstance(module, PooledTable) else module.params
        module.gradients = GradientBuffer.like(parameter)  # type: ignore[assignment,arg-type]
    return modules


def take(modules: list[nn.Module]) -> list[Tensor]:
    """Gradients and touched bits, which are cleared."""
    taken = []
    for module in modules:
        buffer: GradientBuffer = module.gradients  # type: ignore[assignment]
        taken += [buffer.grad.clone(), buffer.touched.clone()]
        buffer.clear()
    return taken


@pytest.mark.parametrize(("kind", "masked", "max_samples"), [("huber", False, None), ("square", True, 20_000)])
def test_a_training_step_follows_the_loss(
    form: tuple, isa: str, kind: Any, masked: bool, max_samples: int | None
) -> None:
    generator = torch.Generator().manual_seed(4)
    rays, n = make_rays(), 300
    target, background = torch.rand(n, 3, generator=generator), torch.rand(n, 3, generator=generator)
    weights = (torch.rand(n, generator=generator) < 0.7).float() if masked else None
    modules = with_buffers(form[0])
    options: dict[str, Any] = {"jitter": (0, 3), "max_samples": max_samples}
    unfused = trace(form[0], rays, *form[1:], background=background, **options)
    counted = torch.arange(unfused.n_rays)
    counted = counted if weights is None else counted[weights[: unfused.n_rays] > 0]
    shown, wanted = unfused.rendering.rgb[counted], target[counted]
    (huber(shown, wanted, 0.1, scale="instant_ngp") if kind == "huber" else l2(shown, wanted)).backward()
    expected = take(modules)
    stepped = fused.train_step(
        form[0], rays, *form[1:], fused.Comparison(target, background, weights, kind, 0.1), **options
    )
    same(unfused, stepped)
    for got, want in zip(take(modules), expected, strict=True):
        if got.is_floating_point():
            assert float((got - want).norm() / want.norm()) < 1e-5
        else:
            assert torch.equal(got, want)


def test_threads_change_no_bit(form: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "GROUP", 32)
    monkeypatch.setattr(kernels, "GROUP_SAMPLES", 500)  # several rounds
    monkeypatch.setattr(kernels, "PART", 100)
    monkeypatch.setattr(kernels, "N_PARTS", 7)
    rays, target = make_rays(), torch.rand(300, 3, generator=torch.Generator().manual_seed(4))
    comparison = fused.Comparison(target, BACKGROUND.expand(300, 3), None, "huber", 0.1)

    def run():
        shown = trace(form[0], rays, *form[1:], background=BACKGROUND, path="fused", jitter=(0, 3)).rendering
        grads = torch.autograd.grad((shown.rgb * target).sum() + shown.depth.sum(), list(form[0].parameters()))
        modules = with_buffers(form[0])
        stepped = fused.train_step(form[0], rays, *form[1:], comparison, jitter=(0, 3))
        for module in modules:
            taken = take([module])
            grads = (*grads, *taken)
            module.gradients = None  # type: ignore[assignment]
        return [shown.rgb.detach(), shown.depth.detach(), *grads, stepped.rendering.rgb]

    same_bits(run)


def test_a_ray_looks_the_same_in_any_company(form: tuple) -> None:
    rays = make_rays()
    options: dict[str, Any] = {"background": BACKGROUND, "path": "fused"}
    all_of_them = render_rays(form[0], rays, *form[1:], **options)
    for part in (slice(0, 1), slice(17, 170), slice(299, 300)):
        some = render_rays(form[0], rays[part], *form[1:], **options)
        assert torch.equal(some.rgb, all_of_them.rgb[part]) and torch.equal(some.depth, all_of_them.depth[part])


def test_rays_of_more_samples_than_a_part_holds() -> None:
    """Fog, so thin and in so small steps that every ray has thousands of samples, none of them behind a stop."""
    form = make_field(opaque=-5.0), make_occupancy(step=2e-3, share=1.0), Marching(early_stop=1e-9)
    rays = make_rays(12)
    unfused, one_pass = both(form, rays)
    assert unfused.n_shaded > 12 * 4 * kernels.PART / 2
    same(unfused, one_pass)
    found = []
    for traced in (unfused, one_pass):
        traced.rendering.rgb.square().sum().backward()
        found.append(gradients(form[0]))
    assert_near(found[1], found[0])
    modules = with_buffers(form[0])
    zero = torch.zeros(12, 3)
    trace(form[0], rays, *form[1:], background=zero).rendering.rgb.square().mean().backward()
    expected = take(modules)[::2]
    fused.train_step(form[0], rays, *form[1:], fused.Comparison(zero, zero, None, "square", 1.0))
    for got, want in zip(take(modules)[::2], expected, strict=True):
        assert float((got - want).norm() / want.norm()) < 1e-5


def test_empty_batches_and_rays_that_miss() -> None:
    field, occupancy = make_field(), make_occupancy()
    for rays in (
        Rays(torch.zeros(0, 3), torch.zeros(0, 3)),
        Rays(torch.full((5, 3), 9.0), make_rays(5).directions.abs()),
    ):
        n = len(rays)
        traced = trace(field, rays, occupancy, Marching(), background=BACKGROUND, path="fused")
        torch.testing.assert_close(traced.rendering.rgb, BACKGROUND.expand(n, 3))
        traced.rendering.rgb.sum().backward()
        assert not any(bool(grad.any()) for grad in gradients(field).values())
        modules = with_buffers(field)
        blank = torch.zeros(n, 3)
        fused.train_step(field, rays, occupancy, Marching(), fused.Comparison(blank, blank, None, "square", 1.0))
        assert not any(bool(t.any()) for t in take(modules)[::2])
        for module in modules:
            module.gradients = None  # type: ignore[assignment]


def test_a_density_that_is_nan_is_told() -> None:
    field = make_field()
    with torch.no_grad():
        field.encoding.table[:4000].fill_(math.nan)
    for traced in both((field, make_occupancy(), Marching()), make_rays()):
        assert not traced.healthy


def test_what_was_rendered_may_not_change_before_its_gradient() -> None:
    field, occupancy = make_field(), make_occupancy()
    shown = trace(field, make_rays(), occupancy, Marching(), background=BACKGROUND, path="fused").rendering
    occupancy.bitfield.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        shown.rgb.sum().backward()


def test_auto_takes_one_pass_for_small_tables_of_plain_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu, plain = torch.device("cpu"), make_field()
    assert fused.chosen("auto", plain, cpu, fused.table_bytes(plain))
    assert not fused.chosen("auto", plain, cpu, fused.table_bytes(plain) - 1)
    assert not fused.chosen("unfused", plain, cpu, 1 << 40)
    assert fused.chosen("fused", plain, cpu, 0)
    assert fused.table_bytes(make_field(precision="float16")) == fused.table_bytes(plain) / 2
    dressed = make_field(n_images=2, appearance_dims=4)
    assert not fused.chosen("auto", dressed, cpu, 1 << 40)
    with pytest.raises(ValueError, match="appearance"):
        fused.chosen("fused", dressed, cpu, 1 << 40)
    with pytest.raises(ValueError, match="not a RadianceField"):
        fused.chosen("fused", nn.Identity(), cpu, 1 << 40)
    with pytest.raises(ValueError, match="no kernel for meta"):
        fused.chosen("fused", plain, torch.device("meta"), 1 << 40)
    called: list[str] = []
    monkeypatch.setattr(fused, "render_rays", lambda *args, **options: called.append("fused"))
    for path in ("auto", "unfused", "fused"):
        render_rays(plain, make_rays(3), make_occupancy(), Marching(), background=BACKGROUND, path=path)  # type: ignore[arg-type]
    assert called == ["fused", "fused"]


def test_what_it_cannot_do_is_refused() -> None:
    field, occupancy, rays = make_field(), make_occupancy(), make_rays(3)
    moving = replace(rays, origins=rays.origins.clone().requires_grad_())
    with pytest.raises(ValueError, match="gradients to rays"):
        trace(field, moving, occupancy, Marching(), background=BACKGROUND, path="fused")
    with pytest.raises(ValueError, match="distortion"):
        trace(field, rays, occupancy, Marching(), background=BACKGROUND, path="fused", with_distortion=True)
    blank = torch.zeros(3, 3)
    with pytest.raises(ValueError, match="needs a buffer"):
        fused.train_step(field, rays, occupancy, Marching(), fused.Comparison(blank, blank, None, "square", 1.0))
    with_buffers(field)
    with pytest.raises(ValueError, match=r"target must be \[3, 3\]"):
        fused.train_step(field, rays, occupancy, Marching(), fused.Comparison(blank[:2], blank, None, "square", 1.0))


def test_counted_rays_begin_where_their_samples_do() -> None:
    """Spans only skip the way: the same bits without them."""
    field, occupancy = make_field(), make_occupancy()
    marched = fused._prepared(make_rays(), occupancy, Marching(), (0, 3))
    _, spans, _, _ = ray_march.count(marched, None)
    with torch.no_grad():
        program, operands = fused.stages_of(field)
        a = kernels.fused(marched, program, operands, early_stop=1e-4)
        b = kernels.fused(marched, program, operands, early_stop=1e-4, spans=spans)
    assert all(torch.equal(x, y) for x, y in zip(a[:4], b[:4], strict=True))


_PEAK = """
import re, pathlib, torch
from neural.cuda import fused as kernels
from neural.render import fused
from neural.render.volume import trace
from tests.render.test_fused import BACKGROUND, Marching, make_field, make_occupancy, make_rays, with_buffers
torch.set_num_threads(1)
kernels.GROUP_SAMPLES, kernels.N_GROUPS, kernels.N_PARTS = 1024, 4, 16  # a round is full with the smaller batch
field, occupancy, marching = make_field(opaque=-3.0), make_occupancy(share=1.0), Marching()
with_buffers(field)
def run(way, n):
    rays, black = make_rays(n), torch.zeros(n, 3)
    if way == "step":
        fused.train_step(field, rays, occupancy, marching, fused.Comparison(black, black, None, "square", 1.0))
    else:
        shown = trace(field, rays, occupancy, marching, background=BACKGROUND, path=way).rendering
        shown.rgb.square().mean().backward()
def peak():
    return int(re.search(r"VmHWM:\\s*(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1]) / 1024
for way in ("step", "fused", "unfused"):
    run(way, 250)
    before = peak()
    run(way, 2000)
    print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_peak_memory_does_not_grow_with_the_batch() -> None:
    """From 250 to 2000 rays of about 90 samples: op by op tens of MB more, in one pass results per ray alone."""
    done = subprocess.run([sys.executable, "-c", _PEAK], capture_output=True, text=True, check=True)
    step, one_pass, unfused = map(float, done.stdout.split())
    assert unfused > 35
    assert step < 5 and one_pass < 5
