"""Projection of surfels against plain torch in double, finite differences, gsplat and extremes."""

import math
from types import ModuleType

import pytest
import torch
from torch import Tensor

from neural.cuda.reference import surfel_blend as blend_reference
from neural.cuda.reference import surfel_projection as reference
from neural.cuda.surfel_projection import Surfels, project
from tests.surfel_scenes import NEAR, on, parameters, seen, single
from tests.threads import same_bits

SIZE = (128, 96)


def oracle(given: list[Tensor], size: tuple[int, int] = SIZE) -> Tensor:
    return reference.forward(*given, *size, NEAR, math.inf)


def rows(surfels: Surfels) -> Tensor:
    return torch.cat([x if x.ndim == 2 else x[:, None] for x in surfels], dim=1).T


def leaves(given: list[Tensor]) -> list[Tensor]:
    return [x.detach().clone().requires_grad_() for x in given]


def upstream(n: int) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(reference.GRADIENT_ROWS, n, generator=generator, dtype=torch.float64)


def test_values_and_gradients_match_plain_torch(isa: str) -> None:
    wide = leaves(parameters(301, SIZE))
    expected = oracle(wide)
    assert 0.2 < float((expected[12] > 0).double().mean()) < 0.9
    narrow = leaves(single(wide))
    found = rows(project(*narrow, SIZE, near=NEAR))  # type: ignore[arg-type]
    assert torch.equal(found[12] > 0, expected[12] > 0)
    whole = expected[15] == reference.FLAT
    assert torch.equal(found[15] == reference.FLAT, whole)
    for got, want in zip(found.detach(), expected.detach(), strict=True):
        torch.testing.assert_close(got.double(), want, atol=3e-5 * float(want.abs().max()), rtol=1e-3)
    grad = upstream(301)
    found[:13].backward(grad.float())
    expected[:13].backward(grad)
    for leaf, wanted in zip(narrow, wide, strict=True):
        assert leaf.grad is not None and wanted.grad is not None
        scale = float(wanted.grad.abs().max())
        torch.testing.assert_close(leaf.grad.double(), wanted.grad, atol=2e-5 * scale, rtol=1e-3)
    culled = found[12] == 0
    assert not any(leaf.grad[culled].any() for leaf in narrow[:4])  # type: ignore[index]
    assert not narrow[2].grad[:, 2].any()  # type: ignore[index]  # the third scale is not read


def test_the_reference_agrees_with_finite_differences() -> None:
    given = parameters(9, SIZE, seed=4)
    assert (oracle(given)[12] > 0).sum() >= 4
    assert torch.autograd.gradcheck(lambda *given: oracle(list(given))[:13], leaves(given))


@pytest.mark.parametrize("log_scale", [-3.0, -1.5, -0.5])
def test_the_cover_holds_every_pixel_that_may_show(log_scale: float, isa: str) -> None:
    """At each pixel with alpha >= 1/255 the cover is as opaque, and the pixel lies in its box."""
    size = (64, 48)
    surfels = seen(500, size, log_scale=log_scale)
    shown = surfels.opacities > 0
    s = Surfels(*(x[shown].double() for x in surfels))
    x, y = torch.arange(size[0]).double() + 0.5, torch.arange(size[1]).double()[:, None] + 0.5

    def offsets(centres: Tensor) -> tuple[Tensor, Tensor]:
        dx, dy = x - centres[:, 0, None, None], y - centres[:, 1, None, None]
        return dx.expand(-1, *dy.shape[1:2], -1), dy.expand(-1, -1, dx.shape[2])

    squared, _ = blend_reference.intersections(*offsets(s.means2d), s.axes, s.depths)
    opacities = s.opacities[:, None, None]
    drawn = opacities * torch.exp(-0.5 * squared) >= 1 / 255
    dx, dy = offsets(s.centres)
    a, b, c = s.conics.T[:, :, None, None]
    covers = opacities * torch.exp(-0.5 * (a * dx * dx + c * dy * dy) - b * dx * dy) >= 1 / 255
    boxes = (dx.abs() <= s.extents[:, 0, None, None]) & (dy.abs() <= s.extents[:, 1, None, None])
    assert drawn.any() and not (drawn & ~(covers & boxes)).any()
    ellipses = s.conics[:, 0] > reference.FLAT
    assert covers[ellipses].sum() < 2.0 * drawn[ellipses].sum()


def test_matrices_map_the_plane_to_the_image() -> None:
    given = parameters(50, SIZE)
    surfels = Surfels(*(x.double() for x in project(*single(given), SIZE, near=NEAR)))
    shown = surfels.opacities > 0
    means, quats, log_scales, _, w2c, (fx, fy, cx, cy) = given
    u, v = 0.4, -0.7
    turned = reference.rotations(quats) * log_scales.exp()[:, None]
    points = (means + turned @ torch.tensor([u, v, 0.0]).double()) @ w2c[:3, :3].T + w2c[:3, 3]
    image = surfels.matrices() @ torch.tensor([u, v, 1.0]).double()
    pixels = torch.stack([points[:, 0] * fx + points[:, 2] * cx, points[:, 1] * fy + points[:, 2] * cy, points[:, 2]])
    torch.testing.assert_close(image[shown], pixels.T[shown], atol=1e-4, rtol=1e-5)


def test_gsplat_agrees() -> None:
    theirs: ModuleType = pytest.importorskip("gsplat.cuda._torch_impl_2dgs", reason="gsplat is the oracle here")
    means, quats, log_scales, logits, w2c, intrinsics = parameters(300, SIZE)
    ours = Surfels(*_parts(oracle([means, quats, log_scales, logits, w2c, intrinsics])))
    fx, fy, cx, cy = intrinsics.tolist()
    matrix = torch.tensor([[[fx, 0, cx], [0, fy, cy], [0, 0, 1]]], dtype=torch.float64)
    unit = torch.nn.functional.normalize(quats, dim=1)
    _, _, depths, matrices, normals = theirs._fully_fused_projection_2dgs(
        means, unit, log_scales.exp(), w2c[None], matrix, *SIZE, near_plane=NEAR
    )
    shown = ours.opacities > 0
    assert shown.sum() > 100
    torch.testing.assert_close(ours.depths[shown], depths[0, shown])
    torch.testing.assert_close(ours.matrices()[shown], matrices[0, shown])
    scaled = normals[0] / log_scales.exp()[:, 2:]  # theirs are as long as the third scale
    torch.testing.assert_close(ours.normals[shown], scaled[shown])


def _parts(image: Tensor) -> list[Tensor]:
    t = image.T
    return [t[:, :2], t[:, 2:8], image[8], t[:, 9:12], image[12], t[:, 13:15], t[:, 15:18], t[:, 18:]]


def test_any_number_of_threads_gives_the_same(isa: str) -> None:
    given = single(parameters(5000, SIZE))

    def run():
        inputs = leaves(given)
        image = rows(project(*inputs, SIZE, near=NEAR))  # type: ignore[arg-type]
        image[:13].backward(upstream(5000).float())
        return [image.detach(), *(leaf.grad for leaf in inputs)]

    same_bits(run)


def extremes(n: int) -> list[Tensor]:
    """Parameters of n surfels, then of some in which each parameter in turn is strange."""
    strange = [math.nan, math.inf, -math.inf, 1e38, 1e-38, 0.0]
    given = single(parameters(n + 4 * len(strange), SIZE))
    for i, value in enumerate(strange):
        for j in range(4):
            given[j][n + 4 * i + j] = value
    return given


@pytest.mark.parametrize("n", [0, 1, 17])
def test_extremes_are_not_seen_and_give_no_gradient(n: int, isa: str) -> None:
    inputs = leaves(extremes(n))
    image = rows(project(*inputs, SIZE, near=NEAR))  # type: ignore[arg-type]
    assert image.isfinite().all()
    image[:13].sum().backward()
    assert all(leaf.grad.isfinite().all() for leaf in inputs if leaf.grad is not None)


@pytest.mark.parametrize("bad", [{"near": 0.0}, {"near": 2.0, "far": 1.0}, {"size": (0, 5)}], ids=str)
def test_wrong_numbers_are_refused(bad: dict) -> None:
    given = {"size": SIZE, **bad}
    with pytest.raises(ValueError, match="project: "):
        project(*single(parameters(3, SIZE)), **given)


@pytest.mark.parametrize("n", [301, 17])  # blocks, and less than one
def test_the_cuda_path(n: int, cuda_device: torch.device) -> None:
    """Against plain torch in double, and against the CPU kernels; the camera stays on the CPU."""
    wide = leaves(parameters(n, SIZE))
    expected, grad = oracle(wide), upstream(n)
    expected[:13].backward(grad)

    def draw(device: torch.device) -> tuple[Tensor, list[Tensor]]:
        given = single(wide)
        inputs = leaves([*(x.to(device) for x in given[:4]), *given[4:]])
        image = rows(project(*inputs, SIZE, near=NEAR))  # type: ignore[arg-type]
        image[:13].backward(grad.float().to(device))
        return image.detach().cpu(), [_grad(x).cpu() for x in inputs]

    found, grads = draw(cuda_device)
    with on("cpu"):
        native, native_grads = draw(torch.device("cpu"))
    assert torch.equal(found[12] > 0, expected[12] > 0) and torch.equal(
        found[15] == reference.FLAT, native[15] == reference.FLAT
    )
    for got, want, other in zip(found, expected.detach(), native, strict=True):
        scale = float(want.abs().max())
        torch.testing.assert_close(got.double(), want, atol=3e-5 * scale, rtol=1e-3)
        torch.testing.assert_close(got, other, atol=3e-5 * scale, rtol=1e-3)
    for got, leaf, other in zip(grads, wide, native_grads, strict=True):
        scale = float(_grad(leaf).abs().max())
        torch.testing.assert_close(got.double(), _grad(leaf), atol=2e-5 * scale, rtol=1e-3)
        torch.testing.assert_close(got, other, atol=2e-5 * scale, rtol=1e-3)
    assert not any(grad[found[12] == 0].any() for grad in grads[:4])


def _grad(leaf: Tensor) -> Tensor:
    assert leaf.grad is not None
    return leaf.grad


@pytest.mark.parametrize("n", [0, 5])
def test_a_camera_without_gradient_gets_none(n: int, cuda_device: torch.device) -> None:
    """Nor does anything wait for its sums; the other gradients are the same."""
    found = []
    for wanted in (True, False):
        given = [x.to(cuda_device) for x in single(parameters(n, SIZE))]
        inputs = [*leaves(given[:4]), *(x.requires_grad_(wanted) for x in given[4:])]
        project(*inputs, SIZE, near=NEAR).axes.sum().backward()  # type: ignore[arg-type]
        assert all((x.grad is not None) == wanted for x in inputs[4:])
        found.append([_grad(x) for x in inputs[:4]])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_extremes_on_the_cuda_path(cuda_device: torch.device) -> None:
    inputs = leaves([x.to(cuda_device) for x in extremes(17)])
    image = rows(project(*inputs, SIZE, near=NEAR))  # type: ignore[arg-type]
    assert image.isfinite().all()
    image[:13].sum().backward()
    assert all(_grad(leaf).isfinite().all() for leaf in inputs)
