"""What a call costs beside its work: every op's public function on 16 elements, gradients recorded."""

import torch

from neural.cuda import occupancy, philox, surfel_blend, surfel_projection
from neural.cuda.adam import AdamRule, AdamState, adam
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
from neural.cuda.gaussian_tiles import intersect
from neural.cuda.hash_grid import hash_grid
from neural.cuda.level_blend import level_blend
from neural.cuda.levels import describe
from neural.cuda.metric_maps import metric_maps
from neural.cuda.mlp import MLPSpec, mlp
from neural.cuda.modulated_sine import modulated_sine
from neural.cuda.modulated_sine_spec import ModulatedSineSpec
from neural.cuda.probed_grid import probed_grid
from neural.cuda.ray_march import ray_march
from neural.cuda.ray_points import ray_points
from neural.cuda.simplex import simplex
from neural.cuda.spherical_harmonics import spherical_harmonics
from neural.cuda.ssim import ssim_loss
from neural.cuda.trilinear import trilinear
from tests.bench.harness import Row, Size, Work, interleave, threads
from tests.gaussian_scenes import layered

N = 16
BAR = 15.0  # microseconds


def run(size: Size) -> list[Row]:
    repeats, batch = (15, 500) if size == "full" else (2, 5)
    work = {**encoding_calls(), **volume_calls(), **occupancy_calls(), **gaussian_calls(), **surfel_calls()}
    with threads(1):
        times = interleave(work, repeats, batch=batch)
    return [Row(name, times.of(name, 1e6), "us", at_most=BAR) for name in work]


def _rand(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def _directions() -> torch.Tensor:
    return torch.nn.functional.normalize(_rand(N, 3) - 0.5, dim=-1)


def encoding_calls() -> dict[str, Work]:
    """One call of each op that a field is made of, of the optimiser, and of the loss on images."""
    rows, entries = describe(3, n_levels=1, base_resolution=[8] * 3, per_level_scale=[1.5] * 3, log2_hashmap_size=8)
    table, positions = _rand(entries, 2).requires_grad_(), _rand(N, 3).requires_grad_()
    directions = _directions().requires_grad_()
    features, widths, reach = _rand(N, 2).requires_grad_(), _rand(N), _rand(1)
    probed_rows, n = describe(3, n_levels=1, base_resolution=[8] * 3, per_level_scale=[1.0] * 3, log2_hashmap_size=6)
    probed_table, probabilities = _rand(n, 2).requires_grad_(), _rand(1, 16, 4)
    codes = probabilities.argmax(-1).to(torch.uint8)
    sine = ModulatedSineSpec(3, 4, 2, 16, 2)
    grids, sine_params = _rand(3 * N, 4).requires_grad_(), _rand(sine.n_params).requires_grad_()
    spec = MLPSpec(3, 3, width=16, n_hidden_layers=1)
    params = _rand(sum(outputs * inputs for outputs, inputs in spec.shapes)).requires_grad_()
    param, grad = _rand(N, 2), _rand(N, 2)
    state, rule = AdamState(torch.zeros(N, 2), torch.zeros(N, 2)), AdamRule(1e-3)
    cells, frame = torch.zeros(1, 2, dtype=torch.int64), torch.tensor([[0.0] * 3, [1.0] * 3])
    pairs = cell_sort(positions, cells, frame, split=(0, 1))
    features = _rand(N, 4).requires_grad_()
    image, target = _rand(11, 11, 1).requires_grad_(), torch.zeros(11, 11, 1)  # the smallest that there is
    return {
        "hash_grid": lambda: hash_grid(positions, table, rows),
        "simplex": lambda: simplex(positions, table, rows),
        "spherical_harmonics": lambda: spherical_harmonics(directions, 2),
        "frequency": lambda: frequency(positions, 2),
        "cell_sort": lambda: cell_sort(positions.detach(), cells, frame, split=(0, 1)),
        "cell_blend": lambda: cell_blend(features, pairs.places, pairs.order),
        "axis_encoding": lambda: triangle_wave(positions, 2),
        "one_blob": lambda: one_blob(positions, 4),
        "level_blend": lambda: level_blend(features, widths, reach, 4),
        "probed_grid": lambda: probed_grid(positions, probed_table, probabilities, codes, probed_rows),
        "metric_maps": lambda: metric_maps(positions),
        "mlp": lambda: mlp(positions, params, spec),
        "modulated_sine": lambda: modulated_sine(positions, grids, sine_params, sine),
        "adam": lambda: adam(param, grad, state, rule, 1),
        "ssim_loss": lambda: ssim_loss(image, target),
    }


def volume_calls() -> dict[str, Work]:
    """One call of each op between rays and pixels: 16 samples on two rays; 16 rays to march."""
    densities, colors = _rand(N).requires_grad_(), _rand(3, N).T.requires_grad_()
    t_starts = torch.arange(N) / N
    t_ends = t_starts + 1 / N
    packed_info = torch.tensor([[0, N // 2], [N // 2, N // 2]])
    ray_indices, kept = torch.arange(N) // (N // 2), torch.arange(0, N, 2)
    origins, directions = torch.zeros(N, 3), _directions()
    t_min, t_max = torch.zeros(N), torch.full((N,), 0.05)
    cells, voxels = torch.full((1, 512), 255, dtype=torch.uint8), _rand(4, 4, 4, 4)

    def march():
        return ray_march(
            origins, directions, t_min, t_max, cells,
            centre=(0.0, 0.0, 0.0), half_extent=0.5, resolution=16, step=0.05,
        )  # fmt: skip

    samples = march()
    leaves = origins.clone().requires_grad_(), directions.clone().requires_grad_()
    return {
        "ray_march": march,
        "trilinear": lambda: trilinear(origins, voxels, scale=4.0),
        "ray_points": lambda: ray_points(*leaves, samples),
        "visible_samples": lambda: visible_samples(densities, t_starts, t_ends, packed_info),
        "compact": lambda: compact(kept, t_starts, t_ends, ray_indices, colors),
        "composite": lambda: composite(densities, colors, t_starts, t_ends, packed_info),
        "distortion": lambda: distortion(densities, t_starts, t_ends, packed_info),
    }


def occupancy_calls() -> dict[str, Work]:
    """One call of each op of the occupancy grid, on 16 cells where it takes cells, else on the smallest grid."""
    thickness, cells, values = _rand(1, 16**3), torch.arange(N), _rand(N)
    threshold = torch.tensor(0.5)
    place = {"seed": 0, "step": 1, "resolution": 16, "centre": (0.0, 0.0, 0.0), "half_extent": 0.5}
    return {
        "philox_uniform": lambda: philox.uniform(N, seed=0, stream=1),
        "occupancy_points": lambda: occupancy.cell_points(cells, **place),
        "occupancy_update": lambda: occupancy.update(thickness, cells, values, 0.95),
        "occupancy_mean": lambda: occupancy.mean(thickness),
        "occupancy_pack": lambda: occupancy.pack(thickness, threshold),
    }


def gaussian_calls() -> dict[str, Work]:
    """One call of each op of splatting on 16 Gaussians in one tile; of noise, on 16 that are faint."""
    means, quats, log_scales, logits = _rand(N, 3) + 1, _rand(N, 4), _rand(N, 3) - 4, _rand(N)
    parameters = [x.requires_grad_() for x in (means, quats, log_scales, logits)]
    w2c, intrinsics, centre = torch.eye(4), torch.tensor([32.0, 32.0, 32.0, 32.0]), torch.zeros(3)
    sh0, rest = _rand(N, 3).requires_grad_(), _rand(N, 15, 3).requires_grad_()
    faint = _rand(N, 3), _rand(N, 4), _rand(N, 3), _rand(N) - 6
    scene = layered(N, (16, 16))
    given = scene.means2d, scene.conics, scene.opacities
    tiles = intersect(*given, scene.depths, scene.extents, scene.size)
    leaves = [x.detach().requires_grad_() for x in (*given, scene.features)]
    return {
        "gaussian_projection": lambda: project(*parameters, w2c, intrinsics, (64, 64)),
        "gaussian_color": lambda: gaussian_color(parameters[0], centre, sh0, rest, 3),
        "gaussian_tiles": lambda: intersect(*given, scene.depths, scene.extents, scene.size),
        "gaussian_blend": lambda: blend(*leaves, tiles, scene.size),
        "gaussian_contributions": lambda: contributions(*given, tiles, scene.size),
        "gaussian_median_depth": lambda: median_depth(*given, scene.depths, tiles, scene.size),
        "gaussian_noise": lambda: gaussian_noise(*faint, 1e-3, seed=0, step=1),
    }


def surfel_calls() -> dict[str, Work]:
    """One call of each op of surfels, on 16 of them in one tile."""
    parameters = [x.requires_grad_() for x in (_rand(N, 3) + 1, _rand(N, 4), _rand(N, 3) - 4, _rand(N))]
    w2c, intrinsics, size = torch.eye(4), torch.tensor([8.0, 8.0, 0.0, 0.0]), (16, 16)
    project = surfel_projection.project
    surfels = surfel_projection.Surfels(*(x.detach() for x in project(*parameters, w2c, intrinsics, size)))
    tiles = intersect(surfels.centres, surfels.conics, surfels.opacities, surfels.depths, surfels.extents, size)
    leaf, features = surfels._replace(means2d=surfels.means2d.requires_grad_()), _rand(N, 6)
    return {
        "surfel_projection": lambda: project(*parameters, w2c, intrinsics, size),
        "surfel_blend": lambda: surfel_blend.blend(leaf, features, tiles, size),
    }
