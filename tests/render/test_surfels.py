"""Pictures of surfels: a wall's depth and normal, what trains, what is refused."""

import pytest
import torch
from torch import Tensor

from neural.gaussians.model import Gaussians
from neural.render.splats import View
from neural.render.surfels import SurfelPicture, depth_normals, splat_surfels
from tests.surfel_scenes import on, parameters

SIZE = (48, 32)


def view() -> View:
    w2c, intrinsics = parameters(1, SIZE)[4:]
    return View(w2c, intrinsics, SIZE, 0.1)


def wall(spacing: float = 0.2) -> Gaussians:
    """A plane of nearly opaque surfels at z = 1, seen at an angle; red."""
    steps = torch.arange(-8, 8, spacing)
    x, y = torch.meshgrid(steps, steps, indexing="xy")
    means = torch.stack([x, y, torch.ones_like(x)], dim=2).reshape(-1, 3)
    n = len(means)
    quats = torch.tensor([1.0, 0, 0, 0]).expand(n, 4)
    scales = torch.tensor([spacing, spacing, 5.0]).log().expand(n, 3)  # the third would swallow the camera
    red = torch.tensor([0.5, -0.5, -0.5]).expand(n, 3) / 0.28209479
    return Gaussians(means, quats, scales, torch.full((n,), 4.0), red, torch.zeros(n, 0, 3))


def expected_depth() -> tuple[Tensor, Tensor]:
    """z of the wall in each pixel, and its normal in the camera's frame."""
    w2c, (fx, fy, cx, cy) = view().w2c, view().intrinsics
    x, y = torch.arange(SIZE[0]).double() + 0.5, torch.arange(SIZE[1]).double()[:, None] + 0.5
    rays = torch.stack([((x - cx) / fx).expand(SIZE[1], -1), ((y - cy) / fy).expand(-1, SIZE[0]),
                        torch.ones(SIZE[1], SIZE[0]).double()], dim=2)  # fmt: skip
    normal = w2c[:3, 2]
    point = w2c[:3, :3] @ torch.tensor([0.0, 0.0, 1.0]).double() + w2c[:3, 3]
    return (normal @ point) / (rays @ normal), -normal


def test_a_wall_has_its_depth_its_normal_and_no_spread() -> None:
    with torch.no_grad():
        picture = splat_surfels(wall(), view(), background=torch.ones(3))
    depth, normal = expected_depth()
    assert float(picture.alpha.min()) > 0.99
    torch.testing.assert_close((picture.depth / picture.alpha).double(), depth, rtol=1e-4, atol=0)
    torch.testing.assert_close(picture.median.double(), depth, rtol=1e-4, atol=0)
    torch.testing.assert_close(
        (picture.normal / picture.alpha[..., None]).double(), normal.expand(32, 48, 3), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(picture.rgb, torch.tensor([1.0, 0, 0]).expand(32, 48, 3), atol=1e-2, rtol=0)
    assert float(picture.distortion.max()) < 1e-6
    from_depth = depth_normals(picture.median, view().intrinsics)
    torch.testing.assert_close(from_depth[1:-1, 1:-1].double(), normal.expand(30, 46, 3), atol=5e-3, rtol=0)
    assert not from_depth[0].any() and not from_depth[:, -1].any()


def test_what_is_not_covered_shows_the_background() -> None:
    gaussians = wall()
    gaussians.means.data[:, 2] = -100.0  # behind the camera
    background = torch.tensor([0.1, 0.5, 0.9])
    picture = splat_surfels(gaussians, view(), background=background)
    torch.testing.assert_close(picture.rgb, background.expand(32, 48, 3))
    assert not picture.normal.any() and not picture.median.any()


def loss(picture: SurfelPicture, target: Tensor) -> Tensor:
    """As surfels are trained: colours, distortion, normals that agree with depths."""
    agree = (picture.normal * depth_normals(picture.median, view().intrinsics)).sum(dim=2)
    consistency = (picture.alpha.detach() - agree)[1:-1, 1:-1].mean()
    return (picture.rgb - target).abs().mean() + picture.distortion.mean() + 0.05 * consistency


def test_training_brings_the_picture_to_its_target() -> None:
    generator = torch.Generator().manual_seed(0)
    target = splat_surfels(wall(0.4), view()).rgb.detach()
    gaussians = wall(0.4)
    gaussians.means.data += 0.1 * torch.randn(gaussians.means.shape, generator=generator)
    gaussians.quats.data += 0.2 * torch.randn(gaussians.quats.shape, generator=generator)
    gaussians.sh0.data[:] = 0.0
    optimiser = torch.optim.Adam([p for p in gaussians.parameters() if p.numel()], lr=0.02)
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        value = loss(splat_surfels(gaussians, view()), target)
        value.backward()
        optimiser.step()
        losses.append(float(value.detach()))
    assert losses[-1] < 0.2 * losses[0]
    assert gaussians.log_scales.grad is not None and not gaussians.log_scales.grad[:, 2].any()


def test_the_view_has_a_gradient() -> None:
    w2c, intrinsics = view().w2c.requires_grad_(), view().intrinsics.requires_grad_()
    splat_surfels(wall(0.4), View(w2c, intrinsics, SIZE, 0.1)).depth.sum().backward()
    assert w2c.grad is not None and w2c.grad[:3].any() and intrinsics.grad is not None and intrinsics.grad.any()


def test_a_lens_is_refused() -> None:
    with pytest.raises(ValueError, match="pinhole"):
        splat_surfels(wall(0.4), view()._replace(model="fisheye"))


def draw(device: torch.device) -> tuple[SurfelPicture, Gaussians]:
    """A rough wall, for gradients that do not cancel, and its gradients."""
    gaussians = wall(0.8)
    generator = torch.Generator().manual_seed(1)
    gaussians.means.data += 0.2 * torch.randn(gaussians.means.shape, generator=generator)
    gaussians.quats.data += 0.3 * torch.randn(gaussians.quats.shape, generator=generator)
    gaussians.to(device)
    picture = splat_surfels(gaussians, view(), background=torch.ones(3, device=device))
    (picture.rgb.square().sum() + picture.depth.sum() + picture.normal[..., 2].sum()).backward()
    return picture, gaussians


def is_what_the_cpu_draws(picture: SurfelPicture, gaussians: Gaussians) -> None:
    with on("cpu"):
        expected, leaves = draw(torch.device("cpu"))
    for got, want in zip(picture[:-1], expected[:-1], strict=True):
        torch.testing.assert_close(got.cpu(), want, atol=2e-5, rtol=1e-4)
    for name, parameter in gaussians.named_parameters():
        wanted = leaves.get_parameter(name).grad
        if parameter.numel():
            assert parameter.grad is not None and wanted is not None
            scale = float(wanted.abs().max())
            torch.testing.assert_close(parameter.grad.cpu(), wanted, atol=1e-4 * scale + 1e-9, rtol=0, msg=name)


def test_cuda_draws_the_same(cuda_device: torch.device) -> None:
    is_what_the_cpu_draws(*draw(cuda_device))


def test_a_device_without_kernels_draws_the_same() -> None:
    with on("reference"):
        drawn = draw(torch.device("cpu"))
    is_what_the_cpu_draws(*drawn)
