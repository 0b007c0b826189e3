"""Every op in torch.ops.neural passes opcheck, and compiles as one graph."""

import importlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from neural.cuda import levels, library, packed, ray_march
from neural.cuda.mlp_spec import MLPSpec
from neural.cuda.modulated_sine_spec import ModulatedSineSpec

OPS_FOLDER = Path(library.__file__).parent
for module in OPS_FOLDER.glob("*.py"):  # importing an op's module defines it
    importlib.import_module(f"neural.cuda.{module.stem}")


def _unit(n: int) -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(n, 3), dim=-1)


def _march_rays() -> tuple:
    settings = ray_march._settings((0.0, 0.0, 0.0), 0.5, 16, 0.1, 1.0, 0.0, torch.device("cpu"))
    far = torch.full((7,), 2.0)
    bits = torch.full((1, 512), 255, dtype=torch.uint8)
    return torch.zeros(7, 3), _unit(7), torch.zeros(7), far, torch.rand(7), bits, settings, 16, False


def _march_write() -> tuple:
    packed_info, spans = torch.ops.neural.ray_march_count(*_march_rays())
    n_samples, _ = packed.starts(packed_info)
    return *_march_rays(), spans, packed_info, n_samples


def _packed() -> tuple:
    t = torch.rand(5)
    return t, t + 0.1, torch.tensor([0, 0, 1, 1, 1]), torch.tensor([[0, 2], [2, 3], [5, 0]])


def _table() -> tuple[torch.Tensor, torch.Tensor]:
    rows, entries = levels.describe(
        3, n_levels=4, base_resolution=[3] * 3, per_level_scale=[1.7] * 3, log2_hashmap_size=8
    )
    return torch.randn(entries, 2, requires_grad=True), rows


def _lattice_backward(code: int) -> tuple:
    """Of seven points without sub-tables and weights; `code` is the op's own."""
    table, rows = _table()
    return torch.randn(7, 8), torch.rand(7, 3), table.detach(), None, rows, None, None, code, 1


def _cells() -> tuple:
    """positions, coordinates and frame of seven points over two cells, and how to cut."""
    frame = torch.tensor([[0.0] * 3, [1.0] * 3])
    return (2 * torch.rand(7, 3)).requires_grad_(), torch.tensor([[0, 0], [1, 1]]), frame, 0b11, 0.1, False


def _pairs(weights: bool = True) -> tuple[torch.Tensor | None, ...]:
    """features, places, order and weights of four pairs of three points."""
    places = torch.tensor([[0, 2], [-1, 1], [3, -1]], dtype=torch.int32)
    order = torch.tensor([0, 3, 1, 4], dtype=torch.int32)
    features = torch.randn(6, 4).T.requires_grad_()
    return features, places, order, torch.rand(3, 2).requires_grad_() if weights else None


def _probed() -> tuple:
    """table, probabilities, codes, levels, level_weights and forms of a small grid with two probed levels."""
    table, rows = _table()
    n_books = int(rows[0, :, 2].sum())
    probabilities = torch.rand(n_books, 16, 4)
    codes = probabilities.argmax(-1).to(torch.uint8)
    return table, probabilities.requires_grad_(), codes, rows, None, 1, 1


def _rays() -> tuple[torch.Tensor, ...]:
    """densities, colors, t_starts, t_ends, packed_info of three rays."""
    t_starts = torch.tensor([0.0, 1, 2, 0, 1, 5])
    packed_info = torch.tensor([[0, 3], [3, 0], [3, 3]])
    return torch.rand(6).requires_grad_(), torch.rand(3, 6).T.requires_grad_(), t_starts, t_starts + 0.5, packed_info


def _splats() -> tuple[torch.Tensor, ...]:
    """means, quats, log_scales, opacity_logits, w2c, intrinsics of seven Gaussians before a camera."""
    w2c = torch.eye(4)
    w2c[2, 3] = 3.0
    parameters = torch.randn(7, 3), torch.randn(7, 4), torch.randn(7, 3) - 2, torch.randn(7)
    return *(x.requires_grad_() for x in parameters), w2c, torch.tensor([50.0, 50, 32, 24])


def _colored() -> tuple[torch.Tensor, ...]:
    """means, centre, sh0, shN, opacities of seven Gaussians."""
    tensors = torch.randn(7, 3), torch.zeros(3), torch.randn(7, 3), torch.randn(7, 15, 3)
    return *(x.requires_grad_() for x in tensors), torch.tensor([1.0, 0, 1, 1, 1, 0, 1])


def _adam() -> tuple:
    tensors = [torch.rand(5, 2) for _ in range(4)]
    rows = torch.zeros(5, dtype=torch.int32)
    copy, counter = torch.zeros(5, 2, dtype=torch.float16), torch.zeros(1, dtype=torch.int32)
    optional = (rows, torch.ones(1, dtype=torch.int64), None, copy, torch.rand(5, 2), rows.clone(), counter)
    return (*tensors, *optional, 1, 1e-2, 0.9, 0.99, 1e-8, 0.0, 0.0, 0.9, 1.0, True)


def _blended() -> tuple[torch.Tensor, ...]:
    """features, widths of six samples, reach of two levels."""
    return torch.rand(6, 4).requires_grad_(), (torch.rand(6) + 0.1).requires_grad_(), torch.tensor([0.3, 0.1])


def _mlp() -> tuple:
    """inputs, params, code, frequency of a small network."""
    spec = MLPSpec(3, 2, 16, 1, "softplus", bias=True)
    return torch.randn(7, 3).requires_grad_(), torch.randn(spec.n_params).requires_grad_(), list(spec.code), 1.0


def _modulated_sine() -> tuple:
    """coordinates, features, params, code, frequency of a small network."""
    spec = ModulatedSineSpec(2, 3, 2, 16, 2, 2, 3.0)
    tensors = torch.rand(7, 2), torch.randn(14, 3), 0.1 * torch.randn(spec.n_params)
    return *(t.requires_grad_() for t in tensors), list(spec.code), spec.frequency


def _modulated_sine_backward() -> tuple:
    return torch.randn(7, 2).requires_grad_(), *_modulated_sine()


def _gaussians() -> tuple[torch.Tensor, ...]:
    """means2d, conics, opacities, extents, depths of five Gaussians in an image of 20x18."""
    means2d = 16 * torch.rand(2, 5).T
    conics = torch.tensor([[0.5], [0.1], [0.4]]).expand(3, 5).contiguous().T
    return means2d, conics, 0.1 + 0.8 * torch.rand(5), torch.full((5, 2), 4.0), torch.rand(5)


def _gaussian_pairs() -> tuple:
    means2d, conics, opacities, extents, depths = _gaussians()
    starts = torch.ops.neural.gaussian_tiles_count(means2d, conics, opacities, extents, 20, 18)
    return means2d, conics, opacities, depths, extents, starts, int(starts[-1]), 20, 18


def _gaussian_blend() -> tuple:
    means2d, conics, opacities, depths, extents, starts, *rest = _gaussian_pairs()
    offsets, gaussians, slots = torch.ops.neural.gaussian_tiles_fill(
        means2d, conics, opacities, depths, extents, starts, *rest
    )
    inputs = [x.requires_grad_() for x in (means2d, conics, opacities, torch.rand(3, 5).T, torch.rand(3))]
    return *inputs, offsets, gaussians, starts, slots, 20, 18


def _gaussian_blend_backward() -> tuple:
    given = [x.detach() if isinstance(x, torch.Tensor) else x for x in _gaussian_blend()]
    colors, _, *saved = torch.ops.neural.gaussian_blend(*given)
    return torch.rand(3, 18, 20), torch.rand(18, 20), *given[:9], colors, *saved, 20, 18


def _surfels() -> tuple:
    """What surfel_blend takes, of seven surfels in an image of 20x18, and what their projection is made of."""
    w2c, intrinsics = torch.eye(4), torch.tensor([20.0, 20.0, 10.0, 9.0])
    means = torch.rand(7, 3) - torch.tensor([0.5, 0.5, -2.0])
    return means, torch.randn(7, 4), torch.rand(7, 3) - 2, torch.rand(7), w2c, intrinsics


def _surfel_blend() -> tuple:
    image = torch.ops.neural.surfel_projection(*_surfels(), 20, 18, 0.1, 1e9)
    t = image.t()
    cover = t[:, 13:15], t[:, 15:18], image[12], t[:, 18:]
    starts = torch.ops.neural.gaussian_tiles_count(*cover, 20, 18)
    offsets, gaussians, slots = torch.ops.neural.gaussian_tiles_fill(
        *cover[:3], image[8], cover[3], starts, int(starts[-1]), 20, 18
    )
    inputs = [x.clone().requires_grad_() for x in (t[:, :2], t[:, 2:8], image[8], image[12], torch.rand(3, 7).T)]
    return *inputs, torch.rand(3).requires_grad_(), *cover[:2], offsets, gaussians, starts, slots, 20, 18


def _surfel_blend_backward() -> tuple:
    given = [x.detach() if isinstance(x, torch.Tensor) else x for x in _surfel_blend()]
    colors, planes, *saved = torch.ops.neural.surfel_blend(*given)
    return torch.rand_like(colors), *torch.rand_like(planes), *given[:6], *given[8:12], colors, *saved, 20, 18


# one call per op; a new op that is missing here fails the test below
SAMPLES: dict[str, Callable[[], tuple]] = {
    "occupancy_mean": lambda: (torch.rand(1, 4096),),
    "occupancy_pack": lambda: (torch.rand(2, 4096), torch.tensor(0.5), 16),
    "occupancy_points": lambda: (torch.arange(9), 1, 2, 16, 0.0, 0.0, 0.0, 1.0),
    "occupancy_update": lambda: (torch.rand(1, 4096), torch.arange(9), torch.rand(9), 0.9),
    "philox_uniform": lambda: (9, 2, 1, 2, 3, torch.device("cpu")),
    "ray_march_count": _march_rays,
    "ray_march_write": _march_write,
    "ray_points": lambda: (torch.rand(3, 3).requires_grad_(), _unit(3).requires_grad_(), *_packed()),
    "ray_points_backward": lambda: (torch.rand(5, 3), torch.rand(5, 3), *_packed()),
    "gaussian_noise": lambda: (
        torch.rand(7, 3),
        torch.rand(7, 4),
        torch.rand(7, 3),
        torch.full((7,), -5.0),
        1.0,
        1,
        2,
    ),
    "hash_grid": lambda: (torch.rand(7, 3).requires_grad_(), *_table(), None, None, None, 1, 1),
    "hash_grid_backward": lambda: _lattice_backward(1),
    "simplex": lambda: (torch.rand(7, 3).requires_grad_(), *_table(), None, None, None, 0, 1),
    "simplex_backward": lambda: _lattice_backward(0),
    "adam": _adam,
    "axis_encoding": lambda: (torch.rand(7, 3).requires_grad_(), 1, 4),
    "axis_encoding_backward": lambda: (torch.rand(7, 12).requires_grad_(), torch.rand(7, 3).requires_grad_(), 1, 4),
    "axis_encoding_backward_backward": lambda: (torch.rand(7, 3), torch.rand(7, 12), torch.rand(7, 3), 1, 4),
    "compact_gather": lambda: (torch.rand(4, 9).T.requires_grad_(), torch.tensor([0, 2, 3, 8])),
    "compact_samples": lambda: (torch.tensor([0, 3]), torch.rand(5), torch.rand(5), torch.arange(5)),
    "compact_scatter": lambda: (torch.rand(3, 4).T.requires_grad_(), torch.tensor([0, 2, 3, 8]), 9),
    "composite": lambda: (*_rays(), 1e-4),
    "composite_backward": lambda: (
        torch.rand(3, 3),
        None,
        torch.rand(3),
        torch.rand(6),
        *(x.detach() for x in _rays()),
        torch.rand(6),
        1e-4,
    ),
    "cell_sort": _cells,
    "cell_blend": _pairs,
    "cell_blend_to_features": lambda: (torch.randn(3, 6).requires_grad_(), *_pairs()[1:]),
    "cell_blend_to_weights": lambda: (torch.randn(3, 6).requires_grad_(), *_pairs()[:3]),
    "distortion": lambda: (torch.rand(6).requires_grad_(), *_rays()[2:]),
    "distortion_backward": lambda: (torch.rand(3), torch.rand(6), *_rays()[2:]),
    "frequency": lambda: (torch.rand(7, 3).requires_grad_(), 4),
    "frequency_backward": lambda: (torch.rand(7, 24).requires_grad_(), torch.rand(7, 3).requires_grad_(), 4),
    "frequency_backward_backward": lambda: (torch.rand(7, 3), torch.rand(7, 24), torch.rand(7, 3), 4),
    "gaussian_blend": _gaussian_blend,
    "gaussian_blend_backward": _gaussian_blend_backward,
    "gaussian_tiles_count": lambda: (*_gaussians()[:4], 20, 18),
    "gaussian_tiles_fill": _gaussian_pairs,
    "gaussian_color": lambda: (*_colored(), 2),
    "gaussian_color_backward": lambda: (
        torch.rand(7, 3),
        *(x.detach() for x in (_colored()[0], *_colored()[1::2], _colored()[4])),
        torch.rand(3, 7).T,
        2,
    ),
    "gaussian_projection": lambda: (*_splats(), None, 64, 48, 0.01, 1e9, 0.3, True, 0, 1e9),
    "gaussian_projection_backward": lambda: (
        torch.rand(2, 7).T,
        None,
        torch.rand(7),
        None,
        *(x.detach() for x in _splats()),
        None,
        torch.rand(9, 7),
        *(64, 48, 0.01, 1e9, 0.3, True, 0, 1e9),
    ),
    "metric_maps": lambda: (torch.rand(7, 3).requires_grad_(), 0),
    "metric_maps_backward": lambda: (torch.rand(21, 3).requires_grad_(), torch.rand(7, 3).requires_grad_(), 0),
    "metric_maps_backward_backward": lambda: (torch.rand(7, 3), torch.rand(21, 3), torch.rand(7, 3), 0),
    "level_blend": lambda: (*_blended(), 3),
    "level_blend_backward": lambda: (torch.rand(2, 4).requires_grad_(), *_blended(), 3),
    "level_blend_backward_backward": lambda: (
        torch.rand(6, 4),
        torch.rand(6),
        torch.rand(2, 4),
        *(x.detach() for x in _blended()),
        3,
    ),
    "mlp": _mlp,
    # opcheck would ask for the second derivative of the parameters' gradient; test_mlp.py has the one that exists
    "mlp_backward": lambda: (torch.randn(7, 2), *(x.detach() for x in _mlp()[:2]), *_mlp()[2:]),
    "mlp_backward_backward": lambda: (
        torch.randn(7, 3),
        torch.randn(7, 2),
        *(x.detach() for x in _mlp()[:2]),
        *_mlp()[2:],
    ),
    "probed_grid": lambda: (torch.rand(7, 3).requires_grad_(), *_probed()),
    "probed_grid_backward": lambda: (
        torch.randn(7, 8),
        torch.rand(7, 3),
        *(x.detach() for x in _probed()[:4]),
        None,
        1,
        1,
    ),
    "modulated_sine": _modulated_sine,
    "modulated_sine_backward": _modulated_sine_backward,
    "spherical_harmonics": lambda: (_unit(7).requires_grad_(), 3),
    "spherical_harmonics_backward": lambda: (torch.randn(7, 9), _unit(7), 3),
    "ssim_loss": lambda: (torch.rand(12, 13, 3).requires_grad_(), torch.rand(12, 13, 3), None, 0.2, True),
    "surfel_blend": _surfel_blend,
    "surfel_blend_backward": _surfel_blend_backward,
    "surfel_projection": lambda: (*(x.requires_grad_() for x in _surfels()), 20, 18, 0.1, 1e9),
    "surfel_projection_backward": lambda: (torch.rand(13, 7), *_surfels(), torch.rand(20, 7), 20, 18, 0.1, 1e9),
    "trilinear": lambda: (torch.rand(7, 3), torch.rand(3, 4, 2, 4), 4.0),
    "visible_samples": lambda: (torch.rand(6), *_rays()[2:], 1e-4, 0.0),
}


def test_every_op_has_a_sample() -> None:
    assert sorted(SAMPLES) == sorted(library.OPS)


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_opcheck(name: str) -> None:
    torch.manual_seed(0)
    torch.library.opcheck(getattr(torch.ops.neural, name).default, SAMPLES[name]())
