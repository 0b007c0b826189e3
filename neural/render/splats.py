"""Gaussians to pictures: projection, colours, tiles and blending of one view, in order."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from neural.cameras import Cameras
from neural.cuda.gaussian_blend import blend
from neural.cuda.gaussian_color import gaussian_color
from neural.cuda.gaussian_projection import Projected, project
from neural.cuda.gaussian_tiles import intersect
from neural.gaussians.model import Gaussians
from neural.render.rendering import Rendering

NEAR = 0.01  # of the scene's extent: what is closer to a camera is not drawn


class View(NamedTuple):
    """One camera as the ops take it.

    Attributes:
        w2c: World to camera, in the frame of the Gaussians.
        intrinsics: fx fy cx cy in pixels.
        size: Width and height in pixels.
        near: Smallest depth that is drawn, scene units.
    """

    w2c: Float[Tensor, "4 4"]
    intrinsics: Float[Tensor, "4"]
    size: tuple[int, int]
    near: float


class Splatted(NamedTuple):
    """A view of Gaussians.

    Attributes:
        rgb: sRGB on the background.
        alpha: Opacity, 0 to 1.
        depth: Expected z, not divided by alpha; None unless asked for.
        projected: What was blended.
    """

    rgb: Float[Tensor, "H W 3"]
    alpha: Float[Tensor, "H W"]
    depth: Float[Tensor, "H W"] | None
    projected: Projected


def splat(
    gaussians: Gaussians,
    view: View,
    *,
    degree: int | None = None,
    background: Float[Tensor, "3"] | None = None,
    with_depth: bool = False,
    absolute: Float[Tensor, "N"] | None = None,
) -> Splatted:
    """Draws Gaussians as one camera sees them; differentiable in all of their parameters and in the view.

    Args:
        gaussians: In any order; Morton order is quicker.
        view: The camera.
        degree: Of the spherical harmonics that count; all by default.
        background: Behind everything; black by default.
        with_depth: Blend depths too.
        absolute: See `neural.cuda.gaussian_blend.blend`.
    """
    projected = project(
        gaussians.means, gaussians.quats, gaussians.log_scales, gaussians.opacity_logits, view.w2c, view.intrinsics,
        view.size, near=view.near, antialiased=gaussians.antialiased,
    )  # fmt: skip
    centre = -(view.w2c[:3, :3].T @ view.w2c[:3, 3]).to(gaussians.means)
    features = gaussian_color(
        gaussians.means, centre, gaussians.sh0, gaussians.shN, gaussians.sh_degree if degree is None else degree,
        opacities=projected.opacities.detach(),
    )  # fmt: skip
    if with_depth:
        features = torch.cat([features.t(), projected.depths[None]]).t()
        background = background if background is None else torch.cat([background, background.new_zeros(1)])
    with torch.no_grad():
        tiles = intersect(*projected, view.size)
    blended = blend(
        projected.means2d, projected.conics, projected.opacities, features, tiles, view.size, background=background,
        absolute=absolute,
    )  # fmt: skip
    depth = blended.colors[..., 3] if with_depth else None
    return Splatted(blended.colors[..., :3] if with_depth else blended.colors, blended.alphas, depth, projected)


@torch.no_grad()
def render_camera(
    gaussians: Gaussians, cameras: Cameras, index: int, *, background: Float[Tensor, "3"], near: float
) -> Rendering:
    """One camera's picture, rows of pixels; depths are along the ray as those of every renderer.

    Args:
        gaussians: In the frame of the cameras.
        cameras: Of the Gaussians' frame.
        index: Which of them.
        background: sRGB behind everything.
        near: Smallest depth that is drawn.
    """
    width, height = cameras.sizes[index].tolist()
    device = gaussians.means.device
    view = View(cameras.w2c[index], cameras.intrinsics[index].to(cameras.c2w), (width, height), near)
    shown = splat(gaussians, view, background=background.to(device), with_depth=True)
    assert shown.depth is not None
    fx, fy, cx, cy = (float(v) for v in cameras.intrinsics[index])
    x = (torch.arange(width, device=device) + 0.5 - cx) / fx
    y = (torch.arange(height, device=device) + 0.5 - cy) / fy
    along = (1 + x.square()[None, :] + y.square()[:, None]).sqrt()  # distance over z
    return Rendering(shown.rgb.reshape(-1, 3), shown.alpha.flatten(), (shown.depth * along).flatten())
