"""Every public op, every tensor argument: a wrong dtype, shape or device is refused by name, any stride is taken."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from neural.cuda import adam, levels, occupancy, surfel_blend, surfel_projection
from neural.cuda.axis_encoding import one_blob, triangle_wave
from neural.cuda.cell_blend import cell_blend
from neural.cuda.cell_sort import cell_sort
from neural.cuda.compact import compact, visible_samples
from neural.cuda.composite import composite
from neural.cuda.distortion import distortion
from neural.cuda.frequency import frequency
from neural.cuda.gaussian_blend import blend, contributions, median_depth
from neural.cuda.gaussian_color import gaussian_color
from neural.cuda.gaussian_noise import gaussian_noise
from neural.cuda.gaussian_projection import project
from neural.cuda.gaussian_tiles import Tiles, intersect
from neural.cuda.hash_grid import hash_grid
from neural.cuda.level_blend import level_blend
from neural.cuda.metric_maps import metric_maps
from neural.cuda.mlp import mlp, mlp_input_gradient
from neural.cuda.mlp_spec import MLPSpec
from neural.cuda.modulated_sine import modulated_sine
from neural.cuda.modulated_sine_spec import ModulatedSineSpec
from neural.cuda.probed_grid import probed_grid
from neural.cuda.ray_march import Samples, ray_march
from neural.cuda.ray_points import ray_points
from neural.cuda.simplex import simplex
from neural.cuda.spherical_harmonics import spherical_harmonics
from neural.cuda.ssim import ssim_loss
from neural.cuda.surfel_projection import Surfels
from neural.cuda.trilinear import trilinear

SPEC = MLPSpec(3, 2, 16, 1, "relu")
SINE_SPEC = ModulatedSineSpec(2, 3, 2, 16, 2, 2)
PACKED = torch.tensor([[0, 2], [2, 3]])
STARTS = torch.tensor([0.0, 1, 0, 1, 2])
RAYS = torch.tensor([0, 0, 1, 1, 1])
Arguments = dict[str, Tensor]


def _table() -> Arguments:
    rows, entries = levels.describe(
        3, n_levels=4, base_resolution=[3] * 3, per_level_scale=[1.7] * 3, log2_hashmap_size=8
    )
    return {
        "positions": torch.rand(7, 3), "table": torch.randn(entries, 2), "levels": rows,
        "working_copy": torch.randn(entries, 2).half(), "segments": torch.tensor([0, 7]),
        "level_weights": torch.rand(4),
    }  # fmt: skip


def _probed() -> Arguments:
    given = _table()
    probabilities = torch.rand(int(given["levels"][0, :, 2].sum()), 16, 4)
    names = ("positions", "table", "levels", "level_weights")
    return {
        **{name: given[name] for name in names}, "probabilities": probabilities,
        "codes": probabilities.argmax(-1).to(torch.uint8),
    }  # fmt: skip


def _march(**given: Tensor) -> Samples:
    return ray_march(**given, centre=(0.0, 0.0, 0.0), half_extent=1.0, resolution=16, step=0.1)


def _adam(param: Tensor, grad: Tensor, touched: Tensor) -> Tensor:
    state = adam.AdamState(torch.zeros(70, 2), torch.zeros(70, 2), row_steps=torch.zeros(70, dtype=torch.int32))
    adam.adam(param, grad, state, adam.AdamRule(lr=0.1), 1, touched=touched)
    return param


def _points(origins: Tensor, directions: Tensor) -> Any:
    return ray_points(origins, directions, Samples(STARTS, STARTS + 0.5, RAYS, PACKED, 2))


def _updated(thickness: Tensor, cells: Tensor, values: Tensor) -> Tensor:
    occupancy.update(thickness, cells, values, 0.9)
    return thickness


SIZE = (40, 30)


def _projected() -> Arguments:
    return {
        "means2d": 30 * torch.rand(2, 9).T, "conics": torch.tensor([[0.1], [0.02], [0.2]]).repeat(1, 9).T,
        "opacities": 0.2 + 0.7 * torch.rand(9), "depths": torch.rand(9), "extents": torch.full((9, 2), 9.0),
    }  # fmt: skip


def _blended(*names: str) -> Callable[[], Arguments]:
    """The projected Gaussians' tensors of these names, and their tiles."""

    def make() -> Arguments:
        projected = _projected()
        tiles = intersect(**projected, size=SIZE)
        given = {**projected, "features": torch.rand(4, 9).T, "background": torch.rand(4)}
        return {**{name: given[name] for name in names}, **tiles._asdict()}

    return make


def _with_tiles(op: Callable[..., Any]) -> Callable[..., Any]:
    def call(offsets: Tensor, gaussians: Tensor, starts: Tensor, slots: Tensor, **given: Tensor) -> Any:
        return op(**given, tiles=Tiles(offsets, gaussians, starts, slots), size=SIZE)

    return call


def _surfels() -> Arguments:
    """Projected surfels, features and the tiles of the covers."""
    means = torch.rand(9, 3) + torch.tensor([-0.5, -0.5, 2.0])
    camera = torch.eye(4), torch.tensor([30.0, 30.0, 20.0, 15.0])
    surfels = surfel_projection.project(means, torch.rand(9, 4), torch.rand(9, 3) - 2, torch.rand(9), *camera, SIZE)
    cover = surfels.centres, surfels.conics, surfels.opacities, surfels.depths, surfels.extents
    tiles = intersect(*cover, SIZE)
    given = {"features": torch.rand(4, 9).T, "background": torch.rand(4), **tiles._asdict()}
    return {**{name: x for name, x in surfels._asdict().items() if name not in ("normals", "extents")}, **given}


def _blend_surfels(features: Tensor, background: Tensor, **given: Tensor) -> Any:
    tiles = Tiles(*(given.pop(name) for name in Tiles._fields))
    surfels = Surfels(**given, normals=torch.empty(9, 3), extents=torch.empty(9, 2))  # neither is read
    return surfel_blend.blend(surfels, features, tiles, SIZE, background=background)


def _noise(means: Tensor, **given: Tensor) -> Tensor:
    gaussian_noise(means, **given, strength=1.0, seed=0, step=1)
    return means


# op -> (its tensors by name, a call of it); a new op belongs here
OPS: dict[str, tuple[Callable[[], Arguments], Callable[..., Any]]] = {
    "adam": (
        lambda: {"param": torch.rand(70, 2), "grad": torch.rand(70, 2), "touched": torch.full((1,), 3)}, _adam,
    ),
    "cell_blend": (
        lambda: {"features": torch.rand(3, 4), "places": torch.tensor([[0, -1], [2, 1]], dtype=torch.int32),
                 "order": torch.tensor([0, 3, 2], dtype=torch.int32), "weights": torch.rand(2, 2)}, cell_blend,
    ),
    "cell_sort": (
        lambda: {"positions": torch.rand(7, 3), "coordinates": torch.tensor([[0, 0], [1, 0]]),
                 "frame": torch.tensor([[0.0] * 3, [2.0] * 3])}, lambda **given: cell_sort(**given, split=(0, 1)),
    ),
    "triangle_wave": (lambda: {"positions": torch.rand(7, 3)}, lambda positions: triangle_wave(positions, 4)),
    "one_blob": (lambda: {"positions": torch.rand(7, 3)}, lambda positions: one_blob(positions, 4)),
    "compact": (
        lambda: {"indices": torch.tensor([0, 3]), "t_starts": STARTS, "t_ends": STARTS + 0.5, "ray_indices": RAYS,
                 "features": torch.rand(5, 4)}, compact,
    ),
    "visible_samples": (
        lambda: {"densities": torch.rand(5), "t_starts": STARTS, "t_ends": STARTS + 0.5, "packed_info": PACKED},
        visible_samples,
    ),
    "composite": (
        lambda: {"densities": torch.rand(5), "colors": torch.rand(5, 3), "t_starts": STARTS, "t_ends": STARTS + 0.5,
                 "packed_info": PACKED}, composite,
    ),
    "distortion": (
        lambda: {"weights": torch.rand(5), "t_starts": STARTS, "t_ends": STARTS + 0.5, "packed_info": PACKED},
        distortion,
    ),
    "frequency": (lambda: {"positions": torch.rand(7, 3)}, lambda positions: frequency(positions, 4)),
    "intersect": (_projected, lambda **given: intersect(**given, size=SIZE)),
    "blend": (_blended("means2d", "conics", "opacities", "features", "background"), _with_tiles(blend)),
    "contributions": (_blended("means2d", "conics", "opacities"), _with_tiles(contributions)),
    "median_depth": (_blended("means2d", "conics", "opacities", "depths"), _with_tiles(median_depth)),
    "gaussian_noise": (
        lambda: {"means": torch.zeros(7, 3), "quats": torch.rand(7, 4), "log_scales": torch.rand(7, 3),
                 "opacity_logits": torch.full((7,), -6.0) + torch.rand(7)}, _noise,
    ),
    "gaussian_color": (
        lambda: {"means": torch.rand(7, 3), "centre": torch.zeros(3), "sh0": torch.rand(7, 3),
                 "shN": torch.rand(7, 15, 3), "opacities": torch.rand(7)},
        lambda **given: gaussian_color(**given, degree=3),
    ),
    "project": (
        lambda: {"means": torch.rand(7, 3), "quats": torch.randn(7, 4), "log_scales": torch.rand(7, 3) - 3,
                 "opacity_logits": torch.rand(7), "w2c": torch.eye(4), "intrinsics": torch.full((4,), 30.0),
                 "distortion": torch.rand(8) * 0.01},
        lambda **given: project(**given, size=(64, 48), model="opencv"),
    ),
    "blend of surfels": (_surfels, _blend_surfels),
    "project surfels": (
        lambda: {"means": torch.rand(7, 3), "quats": torch.randn(7, 4), "log_scales": torch.rand(7, 3) - 3,
                 "opacity_logits": torch.rand(7), "w2c": torch.eye(4), "intrinsics": torch.full((4,), 30.0)},
        lambda **given: surfel_projection.project(**given, size=(64, 48)),
    ),
    "hash_grid": (_table, hash_grid),
    "simplex": (_table, simplex),
    "metric_maps": (lambda: {"positions": torch.rand(7, 3)}, metric_maps),
    "modulated_sine": (
        lambda: {"coordinates": torch.rand(7, 2), "features": torch.rand(14, 3),
                 "params": torch.rand(SINE_SPEC.n_params)},
        lambda coordinates, features, params: modulated_sine(coordinates, features, params, SINE_SPEC),
    ),
    "level_blend": (
        lambda: {"features": torch.rand(6, 4), "widths": torch.rand(6), "reach": torch.rand(2)},
        lambda **given: level_blend(**given, n_samples=3),
    ),
    "mlp": (
        lambda: {"inputs": torch.rand(7, 3), "params": torch.randn(SPEC.n_params)},
        lambda inputs, params: mlp(inputs, params, SPEC),
    ),
    "mlp_input_gradient": (
        lambda: {"grad": torch.rand(7, 2), "inputs": torch.rand(7, 3), "params": torch.randn(SPEC.n_params)},
        lambda grad, inputs, params: mlp_input_gradient(grad, inputs, params, SPEC),
    ),
    "cell_points": (
        lambda: {"cells": torch.arange(9)},
        lambda cells: occupancy.cell_points(
            cells, seed=1, step=2, resolution=16, centre=(0.0, 0.0, 0.0), half_extent=1.0
        ),
    ),
    "update": (
        lambda: {"thickness": torch.rand(1, 4096), "cells": torch.arange(9), "values": torch.rand(9)}, _updated,
    ),
    "mean": (lambda: {"thickness": torch.rand(1, 4096)}, occupancy.mean),
    "pack": (lambda: {"thickness": torch.rand(2, 4096), "threshold": torch.tensor(0.5)}, occupancy.pack),
    "probed_grid": (_probed, probed_grid),
    "ray_march": (
        lambda: {"origins": torch.zeros(3, 3), "directions": torch.eye(3), "t_min": torch.zeros(3),
                 "t_max": torch.full((3,), 2.0), "bitfield": torch.full((1, 512), 255, dtype=torch.uint8),
                 "jitter": torch.rand(3)}, _march,
    ),
    "ray_points": (lambda: {"origins": torch.rand(2, 3), "directions": torch.rand(2, 3)}, _points),
    "spherical_harmonics": (
        lambda: {"directions": torch.eye(3)}, lambda directions: spherical_harmonics(directions, 3),
    ),
    "ssim_loss": (
        lambda: {"image": torch.rand(12, 13, 3), "target": torch.rand(12, 13, 3),
                 "mask": torch.ones(12, 13, dtype=torch.uint8)}, ssim_loss,
    ),
    "trilinear": (
        lambda: {"positions": torch.rand(7, 3), "voxels": (255 * torch.rand(3, 4, 2, 4)).byte()},
        lambda **given: trilinear(**given, scale=4.0),
    ),
}  # fmt: skip
# Large, or written to: a copy in silence would cost memory or lose what is written, so these must be dense.
DENSE = {
    ("trilinear", "voxels"),
    ("adam", "param"), ("adam", "grad"), ("update", "thickness"),
    ("gaussian_noise", "means"), ("level_blend", "reach"), ("mlp", "params"), ("mlp_input_gradient", "params"),
    *(("probed_grid", name) for name in ("table", "levels", "level_weights", "probabilities", "codes")),
    ("modulated_sine", "params"),
    *(
        (op, name)
        for op in ("hash_grid", "simplex")
        for name in ("table", "levels", "working_copy", "segments", "level_weights")
    ),
    *((op, "packed_info") for op in ("visible_samples", "composite", "distortion")),
}  # fmt: skip
EACH = [(op, name) for op, (make, _) in OPS.items() for name in make()]
OTHER = {
    torch.float32: torch.float64,
    torch.int32: torch.int64,
    torch.float16: torch.float64,
    torch.int64: torch.int32,
    torch.uint8: torch.int8,
}
FAULTS: dict[str, Callable[[Tensor], Any]] = {
    "dtype": lambda tensor: tensor.to(OTHER[tensor.dtype]),
    "one axis more": lambda tensor: tensor[..., None],
    "device": lambda tensor: tensor.to("meta"),
    "no tensor": lambda tensor: tensor.tolist(),
}


def arguments(op: str) -> Arguments:
    torch.manual_seed(0)
    return OPS[op][0]()


@pytest.mark.parametrize(
    ("op", "name", "fault"),
    # an only tensor may lie on any device
    [(op, name, fault) for op, name in EACH for fault in FAULTS if fault != "device" or len(OPS[op][0]()) > 1],
)
def test_what_is_wrong_is_named(op: str, name: str, fault: str) -> None:
    given = arguments(op)
    with pytest.raises((TypeError, ValueError), match=r"^\w+(\.\w+)?: "):
        OPS[op][1](**{**given, name: FAULTS[fault](given[name])})


@pytest.mark.parametrize(("op", "name"), EACH, ids=[f"{op}-{name}" for op, name in EACH])
def test_any_stride_gives_the_same_or_is_refused(op: str, name: str) -> None:
    """Every other number of a wider tensor: never read as if it were dense."""
    expected = OPS[op][1](**arguments(op))
    given = arguments(op)
    apart = torch.stack([given[name], torch.full_like(given[name], 77)], dim=-1)[..., 0]
    if (op, name) in DENSE:
        with pytest.raises(ValueError, match=rf"{name} must be contiguous"):
            OPS[op][1](**{**given, name: apart})
        return
    got = OPS[op][1](**{**given, name: apart})
    for left, right in zip(_flat(got), _flat(expected), strict=True):
        torch.testing.assert_close(left, right)


def _flat(result: Any) -> list[Tensor]:
    if isinstance(result, Tensor):
        return [result]
    values = result if isinstance(result, tuple) else vars(result).values()
    return [value for value in values if isinstance(value, Tensor)]
