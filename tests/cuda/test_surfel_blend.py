"""Blending of surfels against plain torch in double, finite differences and gsplat, for every instruction set."""

import sys
from types import ModuleType

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from neural.cuda.gaussian_tiles import Tiles
from neural.cuda.reference import surfel_blend as reference
from neural.cuda.reference import surfel_projection
from neural.cuda.surfel_blend import BlendedSurfels, blend
from neural.cuda.surfel_projection import Surfels, project
from tests.surfel_scenes import NEAR, on, parameters, seen, single, tiles_of
from tests.threads import same_bits

SIZES = [(1, 1), (3, 18), (37, 21), (70, 50)]
CHANNELS = [6, 3, 0, 20]
SHARES = (2e-5, 1e-4, 1e-4, 2e-5, 1e-5, 1e-5)  # of the largest: means2d, axes, depths, opacities, features, background


def _seen(n: int, size: tuple[int, int]) -> Surfels:
    """Some so opaque that their alpha is clamped."""
    given = single(parameters(n, size))
    given[3][::40] = 7.0
    return project(*given, size, near=NEAR)  # type: ignore[arg-type]


def _leaves(surfels: Surfels, channels: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """means2d, axes, depths, opacities, features, background."""
    generator = torch.Generator().manual_seed(7)
    features = torch.rand(channels, len(surfels.depths), generator=generator).T
    own = surfels.means2d, surfels.axes, surfels.depths, surfels.opacities
    given = *own, features.to(own[0].device), torch.linspace(0.2, 0.9, channels).to(own[0].device)
    return [x.detach().clone(memory_format=torch.preserve_format).to(dtype).requires_grad_() for x in given]


def _upstream(size: tuple[int, int], channels: int) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.randn(channels + reference.PLANES, size[1], size[0], generator=generator)


def _planes(out: BlendedSurfels) -> Tensor:
    return torch.cat([out.features.permute(2, 0, 1), torch.stack(out[1:])])


def _blend(
    surfels: Surfels, tiles: Tiles, size: tuple[int, int], channels: int, absolute: Tensor | None = None
) -> tuple[Tensor, list[Tensor]]:
    """The planes, and the gradients to all leaves."""
    leaves = _leaves(surfels, channels)
    means2d, axes, depths, opacities, features, background = leaves
    given = surfels._replace(means2d=means2d, axes=axes, depths=depths, opacities=opacities)
    planes = _planes(blend(given, features, tiles, size, background=background, absolute=absolute))
    planes.backward(_upstream(size, channels).to(planes.device))
    return planes.detach(), [_grad(leaf) for leaf in leaves]


def _reference(
    surfels: Surfels, tiles: Tiles, size: tuple[int, int], channels: int, absolute: Tensor | None = None
) -> tuple[Tensor, list[Tensor]]:
    """The same in double, on the CPU."""
    leaves = _leaves(Surfels(*(x.detach().cpu() for x in surfels)), channels, torch.float64)
    pairs = tiles.offsets.cpu(), tiles.gaussians.cpu()
    with torch.no_grad():
        planes = torch.cat(reference.forward(*leaves, *pairs, size))
    colors, others = _upstream(size, channels).double().split([channels, reference.PLANES])
    grads = reference.backward((colors, *others), tuple(leaves), *pairs, size, absolute)
    return planes, [g for g in grads if g is not None]


def _grad(leaf: Tensor) -> Tensor:
    assert leaf.grad is not None
    return leaf.grad


def _close(got: Tensor, expected: Tensor, share: float) -> None:
    """Within a share of the largest value."""
    scale = float(expected.abs().max()) if expected.numel() else 0.0
    torch.testing.assert_close(got.double().cpu(), expected.double(), atol=share * scale + 1e-12, rtol=0)


def _alike(got: tuple[Tensor, list[Tensor]], expected: tuple[Tensor, list[Tensor]], shares: tuple[float, ...]) -> None:
    """The planes, and the gradients within their shares."""
    for one, other in zip(got[0], expected[0], strict=True):
        _close(one, other, 2e-5)
    for one, other, share in zip(got[1], expected[1], shares, strict=True):
        _close(one, other, share)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("channels", CHANNELS)
def test_values_and_gradients_match_the_reference(size: tuple[int, int], channels: int, isa: str) -> None:
    n = 300
    surfels = _seen(n, size)
    tiles = tiles_of(surfels, size)
    absolute, sums = torch.full((n,), 2.0), torch.full((n,), 2.0, dtype=torch.float64)
    blended = _blend(surfels, tiles, size, channels, absolute)
    _alike(blended, _reference(surfels, tiles, size, channels, sums), SHARES)
    _close(absolute, sums, 1e-5)


def test_the_reference_agrees_with_finite_differences() -> None:
    """Broad surfels that no cut touches."""
    n, size = 6, (18, 17)
    given = parameters(n, size, log_scale=0.0, seed=2)
    given[0], given[3] = 0.3 * given[0], 0.2 * given[3]
    image = surfel_projection.forward(*given, *size, NEAR, 1e9)
    assert (image[12] > 0).all()
    t = image.float().T
    parts = t[:, :2], t[:, 2:8], t[:, 8], t[:, 9:12], t[:, 12], t[:, 13:15], t[:, 15:18], t[:, 18:]
    surfels = Surfels(*parts)
    tiles = tiles_of(surfels, size)
    leaves = _leaves(surfels, 2, torch.float64)
    assert torch.autograd.gradcheck(
        lambda *given: reference.forward(*given, tiles.offsets, tiles.gaussians, size), leaves
    )


@pytest.mark.parametrize("channels", [6, 20])
def test_any_number_of_threads_gives_the_same(channels: int, isa: str) -> None:
    size, n = (150, 90), 2000
    surfels = seen(n, size)
    tiles = tiles_of(surfels, size)

    def run():
        absolute = torch.zeros(n)
        planes, grads = _blend(surfels, tiles, size, channels, absolute)
        return [planes, *grads, absolute]

    same_bits(run)


def test_gsplat_agrees_on_where_rays_meet_surfels() -> None:
    """Colours, alphas and normals of gsplat's blending of single surfels, over all their pixels."""
    theirs: ModuleType = pytest.importorskip("gsplat.cuda._torch_impl_2dgs", reason="gsplat is the oracle here")
    size = (40, 30)
    image = surfel_projection.forward(*parameters(120, size), *size, NEAR, 1e9)
    t = image[:, image[12] > 0].T
    surfels = Surfels(t[:, :2], t[:, 2:8], t[:, 8], t[:, 9:12], 0.9 * t[:, 12], t[:, 13:15], t[:, 15:18], t[:, 18:])
    n, pixels = len(t), size[0] * size[1]

    class Nerfacc(ModuleType):  # gsplat asks it for the weights of a ray's samples; here each ray has one
        render_weight_from_alpha = staticmethod(lambda alphas, ray_indices, n_rays: (alphas, 1 - alphas))

        @staticmethod
        def accumulate_along_rays(weights: Tensor, values: Tensor | None, ray_indices: Tensor, n_rays: int) -> Tensor:
            values = weights[:, None] if values is None else weights[:, None] * values
            return values.new_zeros(n_rays, values.shape[1]).index_add(0, ray_indices, values)

    features = torch.rand(n, 3, dtype=torch.float64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "nerfacc", Nerfacc("nerfacc"))
        for i in range(n):
            of = [x[None, i : i + 1] for x in (surfels.means2d, surfels.matrices(), surfels.opacities, features)]
            every = torch.arange(pixels)
            colors, alphas, _ = theirs.accumulate_2dgs(
                *of, surfels.normals[None, i : i + 1], torch.zeros_like(every), every, torch.zeros_like(every), *size
            )
            own = Surfels(*(x[i : i + 1] for x in surfels))
            n_tiles = -(-size[0] // 16) * -(-size[1] // 16)
            offsets, owners = torch.arange(n_tiles + 1), torch.zeros(n_tiles, dtype=torch.int32)
            blended, planes = reference.forward(
                own.means2d, own.axes, own.depths, own.opacities, features[i : i + 1], None, offsets, owners, size
            )
            drawn = (alphas[0, ..., 0] >= 1 / 255) & _in_front(own, size)
            torch.testing.assert_close(planes[0][drawn], alphas[0, ..., 0][drawn])
            torch.testing.assert_close(blended.permute(1, 2, 0)[drawn], colors[0][drawn])


def _in_front(own: Surfels, size: tuple[int, int]) -> Tensor:
    """Pixels whose ray meets the surfel's plane before the camera: gsplat's torch code blends the others too."""
    x, y = torch.arange(size[0]) + 0.5, torch.arange(size[1])[:, None] + 0.5
    rays = torch.stack([x.expand(size[1], -1), y.expand(-1, size[0]), torch.ones(size[1], size[0])], dim=-1).double()
    return (rays @ own.matrices()[0].inverse().T)[..., 2] > 0


def test_depths_are_those_of_the_plane(isa: str) -> None:
    """A tilted wall: where it is met, the depth of its plane, at the median too; normals and spread of one layer."""
    size = (32, 16)
    means, quats = torch.tensor([[0.0, 0.0, 4.0]]), torch.tensor([[0.9, 0.0, 0.3, 0.0]])
    intrinsics = torch.tensor([30.0, 30.0, 16.0, 8.0])
    surfels = project(means, quats, torch.full((1, 3), 3.0), torch.tensor([2.0]), torch.eye(4), intrinsics, size)
    out = blend(surfels, surfels.normals, tiles_of(surfels, size), size)
    normal = surfel_projection.rotations(quats)[0, :, 2]
    x, y = torch.arange(32) + 0.5 - 16, torch.arange(16)[:, None] + 0.5 - 8
    rays = torch.stack([(x / 30).expand(16, -1), (y / 30).expand(-1, 32), torch.ones(16, 32)], dim=-1)
    expected = 4.0 * normal[2] / (rays @ normal)
    torch.testing.assert_close(out.medians, expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(out.depths, expected * out.alphas, rtol=1e-5, atol=0)
    torch.testing.assert_close(out.features / out.alphas[..., None], (-normal).expand(16, 32, 3), rtol=1e-4, atol=1e-5)
    assert float(out.distortions.abs().max()) == 0.0


def test_the_distortion_is_the_sum_over_pairs(isa: str) -> None:
    """Three walls that face the camera at depths 2, 3 and 5."""
    size = (4, 4)
    depths, alpha = torch.tensor([2.0, 3.0, 5.0]), 0.5
    axes = torch.tensor([[1e4, 0.0, 0.0, 1e4, 0.0, 0.0]]).expand(3, 6)
    flat = torch.tensor([[1e-9, 0.0, 1e-9]]).expand(3, 3)
    middle, wide = torch.full((3, 2), 2.0), torch.full((3, 2), 9.0)
    opacities = torch.full((3,), alpha)
    surfels = Surfels(middle, axes, depths, torch.zeros(3, 3), opacities, middle, flat, wide)
    out = blend(surfels, torch.zeros(3, 0), tiles_of(surfels, size), size)
    weights = torch.tensor([0.5, 0.25, 0.125])
    pairs = weights[:, None] * weights * (depths[:, None] - depths) ** 2
    torch.testing.assert_close(out.distortions, (0.5 * pairs.sum()).expand(4, 4), rtol=1e-4, atol=0)
    torch.testing.assert_close(out.depths, (weights @ depths).expand(4, 4), rtol=1e-5, atol=0)
    torch.testing.assert_close(out.medians, torch.full((4, 4), 2.0), rtol=1e-5, atol=0)


def test_a_surfel_seen_from_its_edge_keeps_a_width(isa: str) -> None:
    """Its axes fall on one line of the image: alpha is that of the disc of variance 1/2 around its centre."""
    size = (9, 9)
    axes = torch.tensor([[8.0, 0.0, 0.0, 0.0, 0.0, 0.5]])
    cover = torch.full((1, 2), 4.5), torch.tensor([[0.05, 0.0, 0.5]]), torch.full((1, 2), 9.0)
    one = torch.ones(1)
    surfels = Surfels(torch.full((1, 2), 4.5), axes, 4 * one, torch.zeros(1, 3), 0.8 * one, *cover)
    leaf = surfels.axes.clone().requires_grad_()
    out = blend(surfels._replace(axes=leaf), torch.ones(1, 1), tiles_of(surfels, size), size)
    offset = torch.arange(9) - 4.0
    alpha = 0.8 * torch.exp(-(offset**2 + offset[:, None] ** 2))
    torch.testing.assert_close(out.alphas, torch.where(alpha >= 1 / 255, alpha, 0.0), rtol=1e-5, atol=1e-7)
    out.alphas.sum().backward()
    assert torch.equal(_grad(leaf), torch.zeros(1, 6))


def test_culled_rows_may_hold_anything(isa: str) -> None:
    size = (20, 30)
    surfels = seen(80, size)
    expected = _blend(surfels, tiles_of(surfels, size), size, 6)
    rubbish = Surfels(*(torch.cat([x, x[:3] * float("nan")]) for x in surfels))
    rubbish.opacities[80:], rubbish.extents[80:] = 0.0, 0.0
    planes, grads = _blend(rubbish, tiles_of(rubbish, size), size, 6, absolute := torch.zeros(83))
    assert torch.equal(planes[6:], expected[0][6:])
    assert not any(grad[80:].any() for grad in grads[:5]) and not absolute[80:].any()


def _scene(n: int, size: tuple[int, int], device: torch.device) -> tuple[Surfels, Tiles]:
    """Of the CPU kernels, on the device: paths are compared on the same surfels."""
    with on("cpu"):
        surfels = _seen(n, size)
        tiles = tiles_of(surfels, size)
    return Surfels(*(x.to(device) for x in surfels)), Tiles(*(x.to(device) for x in tiles))


CUDA_SHARES = (4e-5, *SHARES[1:])  # the shim has no fused multiply-adds: surfels near their edge lose a bit
CUDA_CASES = [  # surfels, size, channels
    (300, (37, 21), 5),
    (1100, (20, 17), 3),  # tiles of several batches
    (60, (3, 18), 1),
    (40, (1, 1), 0),
    (200, (32, 16), 6),
]


@pytest.mark.parametrize(("n", "size", "channels"), CUDA_CASES, ids=str)
def test_the_cuda_path(n: int, size: tuple[int, int], channels: int, cuda_device: torch.device) -> None:
    """Against plain torch in double, and against the CPU kernels."""
    surfels, tiles = _scene(n, size, cuda_device)
    assert n < 1000 or int(tiles.offsets.diff().max()) > 512
    absolute, sums = torch.full((n,), 2.0, device=cuda_device), torch.full((n,), 2.0, dtype=torch.float64)
    blended = _blend(surfels, tiles, size, channels, absolute)
    _alike(blended, _reference(surfels, tiles, size, channels, sums), CUDA_SHARES)
    _close(absolute, sums, 1e-5)
    with on("cpu"):
        native_sums = torch.full((n,), 2.0)
        native = Surfels(*(x.cpu() for x in surfels)), Tiles(*(x.cpu() for x in tiles))
        by_cpu = _blend(*native, size, channels, native_sums)
    _alike(blended, by_cpu, CUDA_SHARES)
    _close(absolute, native_sums, 1e-5)


@pytest.mark.parametrize("name", BlendedSurfels._fields)
def test_each_output_alone_on_the_cuda_path(name: str, cuda_device: torch.device) -> None:
    """The gradients to the others are not there."""
    n, size = 150, (23, 18)
    surfels, tiles = _scene(n, size, cuda_device)

    def gradients(surfels: Surfels, tiles: Tiles) -> list[Tensor]:
        means2d, axes, depths, opacities, features, background = leaves = _leaves(surfels, 3)
        given = surfels._replace(means2d=means2d, axes=axes, depths=depths, opacities=opacities)
        out = getattr(blend(given, features, tiles, size, background=background), name)
        out.backward(torch.linspace(-1, 2, out.numel(), device=out.device).view(out.shape))
        return [_grad(leaf) for leaf in leaves]

    found = gradients(surfels, tiles)
    with on("cpu"):
        wanted = gradients(Surfels(*(x.cpu() for x in surfels)), Tiles(*(x.cpu() for x in tiles)))
    assert wanted[0].any() and wanted[2].any()
    for got, want, share in zip(found, wanted, CUDA_SHARES, strict=True):
        _close(got, want, share)


@pytest.mark.parametrize("n", [0, 9])
def test_nothing_to_blend_on_the_cuda_path(n: int, cuda_device: torch.device) -> None:
    """No surfel, or none that is seen, and those may hold anything: the background, whose gradient is the pixels'."""
    size, channels = (19, 5), 3
    rubbish = Surfels(*(torch.full((n, *x.shape[1:]), float("nan"), device=cuda_device) for x in seen(1, size)))
    rubbish = rubbish._replace(
        opacities=torch.zeros(n, device=cuda_device), extents=torch.zeros(n, 2, device=cuda_device)
    )
    tiles = tiles_of(rubbish, size)
    planes, grads = _blend(rubbish, tiles, size, channels, absolute := torch.zeros(n, device=cuda_device))
    background = torch.linspace(0.2, 0.9, channels)
    assert torch.equal(planes[:channels].cpu(), background[:, None, None].expand(-1, 5, 19))
    assert not planes[channels:].any()
    assert not any(grad.any() for grad in grads[:5]) and not absolute.any()
    torch.testing.assert_close(grads[5].cpu(), _upstream(size, channels)[:channels].sum((1, 2)), rtol=1e-5, atol=1e-6)


def test_the_cuda_path_gives_the_same_every_time(cuda_device: torch.device) -> None:
    n, size = 200, (37, 21)
    surfels, tiles = _scene(n, size, cuda_device)
    found = []
    for _ in range(2):
        absolute = torch.zeros(n, device=cuda_device)
        planes, grads = _blend(surfels, tiles, size, 3, absolute)
        found.append([planes, *grads, absolute])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("channels", [3, 4])  # on both sides of a whole cache line
def test_compilers_are_told_the_shapes_of_the_cuda_path(channels: int, cuda_on_cpu: ModuleType) -> None:
    size = (20, 17)
    with on("cpu"):
        surfels = seen(30, size)
        tiles = tiles_of(surfels, size)
    inputs = *_leaves(surfels, channels), surfels.centres, surfels.conics, *tiles
    with torch.no_grad():
        given = torch.ops.neural.surfel_blend(*inputs, *size)
    with FakeTensorMode(allow_non_fake_inputs=True):
        told = torch.ops.neural.surfel_blend(*(torch.empty_like(x, device="cuda") for x in inputs), *size)
    assert [(x.shape, x.dtype) for x in told] == [(x.shape, x.dtype) for x in given]
