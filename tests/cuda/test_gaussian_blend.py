"""Blending against a float64 oracle without tiles and against plain torch, for every instruction set."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from neural.cuda.gaussian_blend import Blended, blend, contributions, median_depth
from neural.cuda.gaussian_tiles import Tiles, intersect
from neural.cuda.reference import gaussian_blend as reference
from tests.gaussian_scenes import Scene, layered, render
from tests.threads import same_bits

SIZES = [(1, 1), (3, 18), (16, 16), (37, 21), (70, 50)]
CHANNELS = [1, 3, 4, 0, 9, 20]


def _tiles(scene: Scene) -> Tiles:
    return intersect(scene.means2d, scene.conics, scene.opacities, scene.depths, scene.extents, scene.size)


def _inputs(scene: Scene, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Leaves: means2d, conics, opacities, features, background."""
    background = torch.linspace(0.2, 0.9, scene.features.shape[1])
    given = (scene.means2d, scene.conics, scene.opacities, scene.features, background)
    return [x.detach().clone(memory_format=torch.preserve_format).to(dtype).requires_grad_() for x in given]


def _upstream(scene: Scene) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    width, height = scene.size
    channels = scene.features.shape[1]
    colors = torch.randn(channels, height, width, generator=generator).permute(1, 2, 0)
    return colors, torch.randn(height, width, generator=generator)


def _blend(scene: Scene, tiles: Tiles, absolute: Tensor | None = None) -> tuple[Blended, list[Tensor]]:
    """The image, and the gradients to all inputs."""
    leaves = _inputs(scene)
    out = blend(*leaves[:4], tiles, scene.size, background=leaves[4], absolute=absolute)
    torch.autograd.backward(out, _upstream(scene))
    return out, [_grad(leaf) for leaf in leaves]


def _grad(leaf: Tensor) -> Tensor:
    assert leaf.grad is not None
    return leaf.grad


def _close(got: Tensor, expected: Tensor, share: float) -> None:
    """Within a share of the largest value."""
    scale = float(expected.abs().max()) if expected.numel() else 0.0
    torch.testing.assert_close(got.double().cpu(), expected, atol=share * scale + 1e-12, rtol=0)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("radius", [1.0, 4.0])
def test_the_image_is_the_oracles(size: tuple[int, int], radius: float, isa: str) -> None:
    scene = layered(max(3, size[0] * size[1] // 6), size, radius=radius)
    background = torch.tensor([0.3, 0.6, 0.9])
    expected = render(scene, background)
    tiles = _tiles(scene)
    given = scene.means2d, scene.conics, scene.opacities
    out = blend(*given, scene.features, tiles, size, background=background)
    _close(out.colors, torch.from_numpy(expected.colors), 2e-6)
    _close(out.alphas, torch.from_numpy(expected.alphas), 1e-6)
    counts, weights = contributions(*given, tiles, size)
    assert counts.tolist() == expected.blended.sum((1, 2)).tolist()
    _close(weights, torch.from_numpy(expected.weights), 2e-6)
    depth = median_depth(*given, scene.depths, tiles, size)
    np.testing.assert_array_equal(depth.double().numpy(), expected.median)


@pytest.mark.parametrize("channels", CHANNELS)
def test_values_and_gradients_match_the_reference(channels: int, isa: str) -> None:
    scene = layered(600, (45, 35), radius=4.0, channels=channels)
    tiles = _tiles(scene)
    absolute = torch.full((600,), 2.0)
    out, found = _blend(scene, tiles, absolute)
    sums = torch.full((600,), 2.0, dtype=torch.float64)
    expected, wanted = _reference(scene, tiles, sums)
    _close(out.colors, expected[0].permute(1, 2, 0), 2e-6)
    _close(out.alphas, expected[1], 1e-6)
    for got, want, share in zip(found, wanted, (1e-5, 1e-5, 1e-5, 1e-5, 1e-5), strict=True):
        _close(got, want, share)
    _close(absolute, sums, 1e-6)


def _reference(
    scene: Scene, tiles: Tiles, absolute: Tensor | None = None
) -> tuple[tuple[Tensor, Tensor], list[Tensor]]:
    """Outputs and gradients in double."""
    inputs = _inputs(scene, torch.float64)
    pairs = tiles.offsets.cpu(), tiles.gaussians.cpu()
    with torch.no_grad():
        outputs = reference.forward(*inputs, *pairs, scene.size)
    colors, alphas = (x.double() for x in _upstream(scene))
    grads = reference.backward(colors.permute(2, 0, 1), alphas, tuple(inputs), *pairs, scene.size, absolute)
    return outputs, [g for g in grads if g is not None]


def test_the_reference_agrees_with_finite_differences() -> None:
    """Broad Gaussians that no cut touches: alpha between 1/255 and 0.99 everywhere, light to the end."""
    generator = torch.Generator().manual_seed(1)
    n, size = 5, (18, 17)
    means2d = torch.tensor([9.0, 8.5]) + 3 * torch.randn(n, 2, generator=generator)
    conics = torch.tensor([0.012, 0.004, 0.016]).expand(n, 3) * (0.8 + 0.4 * torch.rand(n, 1, generator=generator))
    opacities = 0.4 + 0.3 * torch.rand(n, generator=generator)
    scene = Scene(means2d, conics, opacities, torch.rand(n), torch.full((n, 2), 40.0), torch.rand(n, 2), size)
    tiles = _tiles(scene)
    assert render(scene).blended.all()
    leaves = [x.detach().requires_grad_() for x in _inputs(scene, torch.float64)]
    assert torch.autograd.gradcheck(
        lambda *given: reference.forward(*given, tiles.offsets, tiles.gaussians, size), leaves
    )


def test_absgrad_is_the_norm_of_the_pixels_sums(isa: str) -> None:
    """Two pixels that pull a Gaussian in opposite directions: the gradient cancels, its absolute sums do not."""
    size = (2, 1)
    given = torch.tensor([[1.0, 0.5]]), torch.tensor([[0.5, 0.0, 0.5]]), torch.tensor([0.6]), torch.ones(1, 1)
    tiles = intersect(*given[:3], torch.ones(1), torch.full((1, 2), 9.0), size)
    leaf, absolute = given[0].clone().requires_grad_(), torch.zeros(1)
    out = blend(leaf, *given[1:], tiles, size, absolute=absolute)
    out.colors.sum().backward()
    slope = 0.6 * np.exp(-0.5 * 0.5 * 0.25) * 0.5 * 0.5
    torch.testing.assert_close(leaf.grad, torch.zeros(1, 2), atol=1e-7, rtol=0)
    torch.testing.assert_close(absolute, torch.tensor([2 * slope], dtype=torch.float32))


@pytest.mark.parametrize("channels", [3, 20])
def test_any_number_of_threads_gives_the_same(channels: int, isa: str) -> None:
    scene = layered(3000, (150, 90), radius=4.0, channels=channels)
    tiles = _tiles(scene)

    def run():
        absolute = torch.zeros(3000)
        out, grads = _blend(scene, tiles, absolute)
        shares = contributions(scene.means2d, scene.conics, scene.opacities, tiles, scene.size)
        return [*out, *grads, absolute, *shares]

    same_bits(run)


def test_a_pixel_ends_before_what_would_leave_too_little(isa: str) -> None:
    """Layers of 0.9: T = 0.1, 0.01, 0.001, 0.0001 would fall below the limit by rounding or not; the fifth surely."""
    n, size = 6, (5, 4)
    means2d, conics = torch.tensor([[2.5, 2.0]]).expand(n, 2), torch.tensor([[1e-9, 0.0, 1e-9]]).expand(n, 3)
    opacities = torch.full((n,), 0.91)
    tiles = intersect(means2d, conics, opacities, torch.arange(n).float(), torch.full((n, 2), 99.0), size)
    features = torch.eye(n)
    leaves = [x.clone().requires_grad_() for x in (means2d, conics, opacities, features)]
    out = blend(*leaves, tiles, size)
    left = [0.09**k for k in range(n)]
    weights = torch.tensor([0.91 * left[k] if k < 3 else 0.0 for k in range(n)])
    torch.testing.assert_close(out.colors, weights.expand(4, 5, n), atol=1e-6, rtol=1e-5)
    out.colors.sum().backward()
    assert _grad(leaves[2])[:3].all() and not _grad(leaves[2])[3:].any()
    assert not _grad(leaves[3])[3:].any()


def _ended_pixels(tiles: tuple[int, int]) -> Scene:
    """A tile per draw of colours: three narrow layers on its first pixel, of which the third ends it and shows nowhere;
    a faint one behind, for the other pixels.
    """
    corners = 16.0 * torch.cartesian_prod(torch.arange(tiles[0]), torch.arange(tiles[1]))[:, None, :]
    means2d = corners + torch.tensor([[0.5, 0.5], [0.5, 0.5], [0.5, 0.5], [2.0, 0.5]])
    conics = torch.tensor([[30.0, 0.0, 30.0], [30.0, 0.0, 30.0], [30.0, 0.0, 30.0], [0.05, 0.0, 0.05]])
    n = len(corners)
    features = torch.rand(4 * n, 3, generator=torch.Generator().manual_seed(0))
    return Scene(
        means2d.reshape(-1, 2),
        conics.repeat(n, 1),
        torch.tensor([0.985, 0.985, 0.985, 0.3]).repeat(n),
        torch.arange(4.0 * n),
        torch.full((4 * n, 2), 15.0),
        features,
        (16 * tiles[0], 16 * tiles[1]),
    )


def _assert_ends_are_seen(scene: Scene, found: list[Tensor], wanted: list[Tensor]) -> None:
    """All gradients, those to opacities within what fp32 leaves of them.

    Backward walks front to back and takes the layers off g . C: what lies behind a layer keeps the absolute rounding
    error of g . C, and dL/dalpha divides it by 1 - alpha, here 0.015. A rounding is at most 2^-24 of G = sum_k |g_k|,
    as no feature is above 1. With c channels there are 3 in C (two layers, the background), c in g . C, c + 2 where the
    first layer is taken off (g . f, its weight, the difference; at later ones the numbers are 66 times smaller), and
    alpha is known to two units in its last place: 4 more, over the same 1 - alpha. Together that is
    (2 c + 9) 2^-24 G / (1 - alpha); 0.14 of it has been seen. From back to front the error would fall with what reaches
    a layer, but every T would have to be kept, or divided out.
    """
    for i in (0, 1, 3, 4):
        _close(found[i], wanted[i], 2e-6)
    upstream = _upstream(scene)[0].abs().sum(-1)[::16, ::16].t().reshape(-1)  # of first pixels, in the scene's order
    bound = (2 * 3 + 9) * 2**-24 * upstream / (1 - 0.985)
    errors = (found[2].double().cpu() - wanted[2]).abs().reshape(-1, 4)
    assert (errors[:, :2] <= bound[:, None]).all()
    assert not found[2].reshape(-1, 4)[:, 2].any()
    _close(found[2].reshape(-1, 4)[:, 3], wanted[2].reshape(-1, 4)[:, 3], 2e-6)


def test_backward_sees_the_end_of_pixels_that_nothing_else_shares(isa: str) -> None:
    scene = _ended_pixels((20, 15))
    tiles = _tiles(scene)
    _, found = _blend(scene, tiles)
    _, wanted = _reference(scene, tiles)
    _assert_ends_are_seen(scene, found, wanted)


def test_alpha_is_capped_and_does_not_move_there(isa: str) -> None:
    size = (1, 1)
    given = torch.tensor([[0.5, 0.5]]), torch.tensor([[1.0, 0.0, 1.0]]), torch.ones(1), torch.ones(1, 1)
    tiles = intersect(*given[:3], torch.ones(1), torch.full((1, 2), 3.0), size)
    leaves = [x.clone().requires_grad_() for x in given]
    out = blend(*leaves, tiles, size)
    out.colors.sum().backward()
    torch.testing.assert_close(out.alphas, torch.tensor([[0.99]]))
    assert not any(_grad(leaf).any() for leaf in leaves[:3])
    torch.testing.assert_close(_grad(leaves[3]), torch.tensor([[0.99]]))


@pytest.mark.parametrize("n", [0, 4])
def test_where_nothing_shows_there_is_the_background(n: int, isa: str) -> None:
    scene = dataclasses.replace(layered(n, (20, 10)), extents=torch.zeros(n, 2))
    tiles = _tiles(scene)
    out, grads = _blend(scene, tiles)
    assert torch.equal(out.colors, torch.linspace(0.2, 0.9, 3).expand(10, 20, 3)) and not out.alphas.any()
    assert not any(grad.any() for grad in grads[:4])
    torch.testing.assert_close(grads[4], _upstream(scene)[0].sum((0, 1)))


def test_culled_rows_may_hold_anything(isa: str) -> None:
    scene = layered(50, (20, 30), radius=4.0)
    expected = _blend(scene, _tiles(scene))
    rubbish = [torch.cat([x.t(), x.t()[..., :3] * float("nan")], dim=-1).t() for x in _fields(scene)]
    culled = Scene(*rubbish, scene.size)
    culled.opacities[50:], culled.extents[50:] = 0.0, 0.0
    out, grads = _blend(culled, _tiles(culled), absolute := torch.zeros(53))
    assert torch.equal(out.colors, expected[0].colors)
    for grad, before in zip(grads[:4], expected[1][:4], strict=True):
        assert torch.equal(grad[:50], before) and not grad[50:].any()
    assert not absolute[50:].any()


def _fields(scene: Scene) -> list[Tensor]:
    return [scene.means2d, scene.conics, scene.opacities, scene.depths, scene.extents, scene.features]


def test_one_output_alone_and_no_background(isa: str) -> None:
    scene = layered(200, (40, 30), radius=4.0)
    tiles, (up_colors, up_alphas) = _tiles(scene), _upstream(scene)
    found = []
    for with_colors, with_alphas in ((True, False), (False, True), (True, True)):
        leaves = _inputs(scene)[:4]
        out = blend(*leaves, tiles, scene.size)
        wanted = [(out.colors, up_colors)] * with_colors + [(out.alphas, up_alphas)] * with_alphas
        torch.autograd.backward([x for x, _ in wanted], [grad for _, grad in wanted])
        found.append([_grad(leaf) for leaf in leaves])
    for color, alpha, whole in zip(*found, strict=True):
        _close(color + alpha, whole.double(), 1e-5)


ORDERS: list[Callable[[Tensor], Tensor]] = [lambda t: t.contiguous(), lambda t: t.T.contiguous().T]


def test_either_order_of_memory_gives_the_same(isa: str) -> None:
    scene = layered(200, (40, 30), radius=4.0)
    tiles = _tiles(scene)
    images = [
        blend(order(scene.means2d), order(scene.conics), scene.opacities, order(scene.features), tiles, scene.size)
        for order in ORDERS
    ]
    assert torch.equal(images[0].colors, images[1].colors)


def test_absolute_is_refused_where_it_could_not_be_added_to() -> None:
    scene = layered(5, (10, 10))
    given = scene.means2d, scene.conics, scene.opacities, scene.features, _tiles(scene), scene.size
    with pytest.raises(ValueError, match="absolute must be contiguous"):
        blend(*given, absolute=torch.zeros(10)[::2])
    with pytest.raises(ValueError, match=r"offsets must be \[2\], got \[5\]"):
        blend(*given[:4], _tiles(layered(5, (20, 20))), scene.size)


def test_the_cuda_path_sees_the_end_of_pixels(cuda_device: torch.device) -> None:
    scene = _ended_pixels((5, 4))
    tiles = Tiles(*(x.to(cuda_device) for x in _tiles(scene)))
    leaves = [x.detach().to(cuda_device).requires_grad_() for x in _inputs(scene)]
    out = blend(*leaves[:4], tiles, scene.size, background=leaves[4])
    torch.autograd.backward(out, [x.to(cuda_device) for x in _upstream(scene)])
    _assert_ends_are_seen(scene, [_grad(leaf) for leaf in leaves], _reference(scene, tiles)[1])


@pytest.mark.parametrize(("n", "size", "channels"), [(0, (9, 3), 3), (120, (37, 21), 3), (300, (20, 33), 5)])
def test_the_cuda_path(n: int, size: tuple[int, int], channels: int, cuda_device: torch.device) -> None:
    host = layered(n, size, radius=4.0, channels=channels)
    tiles = Tiles(*(x.to(cuda_device) for x in _tiles(host)))
    leaves = [x.detach().to(cuda_device).requires_grad_() for x in _inputs(host)]
    absolute = torch.zeros(n, device=cuda_device)
    out = blend(*leaves[:4], tiles, size, background=leaves[4], absolute=absolute)
    torch.autograd.backward(out, [x.to(cuda_device) for x in _upstream(host)])
    sums = torch.zeros(n, dtype=torch.float64)
    expected, wanted = _reference(host, tiles, sums)
    _close(out.colors, expected[0].permute(1, 2, 0), 2e-6)
    for leaf, want, share in zip(leaves, wanted, (1e-5, 1e-5, 1e-5, 1e-5, 1e-5), strict=True):
        _close(_grad(leaf), want, share)
    _close(absolute, sums, 1e-5)
    counts, weights = contributions(*(leaf.detach() for leaf in leaves[:3]), tiles, size)
    drawn = render(host)
    assert counts.tolist() == drawn.blended.sum((1, 2)).tolist()
    _close(weights, torch.from_numpy(drawn.weights), 2e-6)
    depth = median_depth(*(leaf.detach() for leaf in leaves[:3]), host.depths.to(cuda_device), tiles, size)
    np.testing.assert_array_equal(depth.double().cpu().numpy(), drawn.median)
