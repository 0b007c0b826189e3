"""Gaussians drawn as surfels (2DGS): flat along their third axis, met by each pixel's ray, with normals and depths."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from neural.cuda.gaussian_color import gaussian_color
from neural.cuda.gaussian_tiles import intersect
from neural.cuda.surfel_blend import blend
from neural.cuda.surfel_projection import Surfels, project
from neural.gaussians.model import Gaussians
from neural.render.splats import View


class SurfelPicture(NamedTuple):
    """A view of surfels.

    Attributes:
        rgb: sRGB on the background.
        alpha: Opacity, 0 to 1.
        depth: Expected z where rays meet surfels, not divided by alpha.
        median: z of the last surfel that more than half of the light reaches; 0 where there is none.
        normal: Weighted sum of the normals towards the camera, in its frame, not divided by alpha.
        distortion: Spread of a ray's depths: over pairs of surfels, both weights times the squared distance.
        surfels: What was blended.
    """

    rgb: Float[Tensor, "H W 3"]
    alpha: Float[Tensor, "H W"]
    depth: Float[Tensor, "H W"]
    median: Float[Tensor, "H W"]
    normal: Float[Tensor, "H W 3"]
    distortion: Float[Tensor, "H W"]
    surfels: Surfels


def splat_surfels(
    gaussians: Gaussians,
    view: View,
    *,
    degree: int | None = None,
    background: Float[Tensor, "3"] | None = None,
    absolute: Float[Tensor, "N"] | None = None,
) -> SurfelPicture:
    """Draws Gaussians as flat ones; differentiable in all parameters but the third scale, and in the view.

    Args:
        gaussians: In any order; Morton order is quicker. The third scale is not read.
        view: A pinhole camera.
        degree: Of the spherical harmonics that count; all by default.
        background: sRGB behind everything; black by default.
        absolute: See `neural.cuda.surfel_blend.blend`.

    Raises:
        ValueError: A view through a lens that is not a pinhole.

    Source: Huang et al. 2024, "2D Gaussian Splatting", arXiv:2403.17888.
    """
    if view.model != "perspective":
        raise ValueError(f"surfels need a pinhole view, got {view.model}; undistort the images first")
    surfels = project(
        gaussians.means, gaussians.quats, gaussians.log_scales, gaussians.opacity_logits, view.w2c, view.intrinsics,
        view.size, near=view.near,
    )  # fmt: skip
    centre = -(view.w2c[:3, :3].T @ view.w2c[:3, 3]).to(gaussians.means)
    colors = gaussian_color(
        gaussians.means, centre, gaussians.sh0, gaussians.shN, gaussians.sh_degree if degree is None else degree,
        opacities=surfels.opacities.detach(),
    )  # fmt: skip
    features = torch.cat([colors.t(), surfels.normals.t()]).t()
    behind = None if background is None else torch.cat([background, background.new_zeros(3)])
    with torch.no_grad():
        cover = surfels.centres, surfels.conics, surfels.opacities, surfels.depths, surfels.extents
        tiles = intersect(*cover, view.size)
    blended = blend(surfels, features, tiles, view.size, background=behind, absolute=absolute)
    rgb, normal = blended.features.split(3, dim=2)
    return SurfelPicture(rgb, blended.alphas, blended.depths, blended.medians, normal, blended.distortions, surfels)


def depth_normals(depth: Float[Tensor, "H W"], intrinsics: Float[Tensor, "4"]) -> Float[Tensor, "H W 3"]:
    """Unit normals, towards the camera and in its frame, of the surface that a depth map is; 0 on the border.

    Args:
        depth: z of each pixel, at least 3x3 of them; the normal at a pixel is taken from its four neighbours.
        intrinsics: fx fy cx cy in pixels.

    Source: Huang et al. 2024, arXiv:2403.17888, eq. 15.
    """
    fx, fy, cx, cy = intrinsics.to(depth).unbind()
    height, width = depth.shape
    x = (torch.arange(width, device=depth.device) + 0.5 - cx) / fx
    y = (torch.arange(height, device=depth.device)[:, None] + 0.5 - cy) / fy
    points = torch.stack([x * depth, y * depth, depth], dim=2)
    across = points[1:-1, 2:] - points[1:-1, :-2]
    down = points[2:, 1:-1] - points[:-2, 1:-1]
    normals = torch.nn.functional.normalize(torch.linalg.cross(down, across), dim=2)
    return torch.nn.functional.pad(normals, (0, 0, 1, 1, 1, 1))
