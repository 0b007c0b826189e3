"""The fused CUDA kernel, written from the list of stages, against the op-by-op path on the CPU."""

import copy
from typing import Any

import pytest
import torch

from neural.cuda import stages
from neural.cuda.fused import fused as fused_op
from neural.rays import Rays
from neural.render import fused
from neural.render.occupancy import OccupancyGrid
from neural.render.rendering import Marching
from neural.render.volume import render_rays, trace
from tests.render.test_fused import BACKGROUND, FORMS, make_field, make_occupancy, make_rays


@pytest.fixture(scope="module", params=[name for name in FORMS if "lattice" not in FORMS[name][0]])
def scene(request: pytest.FixtureRequest) -> Any:
    """A field, its occupancy, how it is marched, rays, and what the ops on the CPU make of them: of a wider scope than
    `cuda_device`, so that it is done before CUDA's kernels take the ops' place."""
    made, grid, marching = FORMS[request.param]
    field, occupancy, rays = make_field(**made), make_occupancy(**grid), make_rays(150)
    with torch.no_grad():
        return field, occupancy, marching, rays, trace(field, rays, occupancy, marching, background=BACKGROUND)


def test_shows_what_the_ops_show(scene: Any, cuda_device: torch.device) -> None:
    field, occupancy, marching, rays, wanted = scene
    device = cuda_device
    there = OccupancyGrid(
        centre=(0, 0, 0), half_extent=1.0, min_step=occupancy.min_step, seed=0, n_cascades=occupancy.n_cascades,
        resolution=16, device=device,
    )  # fmt: skip
    there.bitfield.copy_(occupancy.bitfield)
    seen = render_rays(
        copy.deepcopy(field).to(device),
        rays.to(device),
        there,
        marching,
        background=BACKGROUND.to(device),
        path="fused",
    )
    for part in ("rgb", "alpha", "depth"):
        actual, expected = getattr(seen, part).cpu(), getattr(wanted.rendering, part)
        off = (actual - expected).abs().flatten(1) if part == "rgb" else (actual - expected).abs()[:, None]
        if marching.cone_angle == 0:
            assert float(off.max()) < 2e-5
        else:  # exp and log differ in the last digit: a few points on faces may change sides
            assert float((off.amax(1) > 2e-5).float().mean()) < 0.05


def test_counts_and_nan(cuda_device: torch.device) -> None:
    field = make_field().to(cuda_device)
    occupancy = make_occupancy()
    there = OccupancyGrid(centre=(0, 0, 0), half_extent=1.0, min_step=0.02, seed=0, resolution=16, device=cuda_device)
    there.bitfield.copy_(occupancy.bitfield)
    rays = make_rays(70).to(cuda_device)

    def look() -> Any:
        with torch.no_grad():
            program, operands = fused.stages_of(field)
            return fused_op(fused._prepared(rays, there, Marching()), program, operands, early_stop=1e-4)

    result = look()
    assert result.n_broken == 0 and int(result.counts[:, 0].sum()) > 300
    assert torch.equal(result.counts[:, 0], result.counts[:, 1])  # none is looked up behind the stop
    with torch.no_grad():
        field.encoding.table.fill_(torch.nan)
    result = look()
    assert result.n_broken == int((result.counts[:, 0] > 0).sum()) > 0
    assert not bool(result.rgb.isnan().any())


def test_gradients_are_not_to_be_had(cuda_device: torch.device) -> None:
    field, occupancy = make_field().to(cuda_device), make_occupancy()
    rays = Rays(*[t.to(cuda_device) for t in (make_rays(3).origins, make_rays(3).directions)])
    occupancy.bitfield = occupancy.bitfield.to(cuda_device)
    program, operands = fused.stages_of(field)
    with pytest.raises(NotImplementedError, match="no_grad"):
        fused_op(fused._prepared(rays, occupancy, Marching()), program, operands, early_stop=1e-4)


def test_simplices_have_no_cuda_kernel() -> None:
    program, _ = fused.stages_of(make_field(lattice="kuhn"))
    with pytest.raises(NotImplementedError, match="no CUDA kernel looks up a simplex"):
        stages.cuda_source(program)


def test_the_source_names_every_stage_in_order() -> None:
    program, _ = fused.stages_of(make_field(contraction="ball", density_activation="softplus"))
    source = stages.cuda_source(program)
    calls = str(source["STAGES"]).split(";")
    assert [call.partition("<")[0] for call in calls] == [
        "unit_cube", "hash_grid", "network", "density", "directions", "network", "",
    ]  # fmt: skip
    assert calls[0].startswith("unit_cube<0,0,1>") and calls[3].startswith("density<25,33,1>")
    assert stages.network_bytes(program) == 4 * sum(
        wired.stage.spec.n_params for wired in program.stages if isinstance(wired.stage, stages.Network)
    )
