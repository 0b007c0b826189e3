"""Gaussians to pictures: projection, colours, tiles and blending of one view, in order."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from neural import lenses
from neural.cameras import CAMERA_MODELS, Cameras
from neural.cuda.adam_in_backward import BackwardSteps
from neural.cuda.gaussian_blend import blend
from neural.cuda.gaussian_color import gaussian_color
from neural.cuda.gaussian_projection import Model, Projected, project
from neural.cuda.gaussian_tiles import intersect
from neural.gaussians.lens_view import LensBounds
from neural.gaussians.model import Gaussians
from neural.rays import image_rays
from neural.render.rendering import Rendering

_PROJECTIONS: dict[str, Model] = {"pinhole": "perspective", "opencv": "opencv", "fisheye": "fisheye"}


class View(NamedTuple):
    """One camera as the ops take it.

    Attributes:
        w2c: World to camera, in the frame of the Gaussians.
        intrinsics: fx fy cx cy in pixels.
        size: Width and height in pixels.
        near: Smallest depth that is drawn, scene units.
        model: Projection of the lens.
        distortion: Of the lens; None for none.
        fold: Where the lens ends; see `neural.lenses.fold`.
    """

    w2c: Float[Tensor, "4 4"]
    intrinsics: Float[Tensor, "4"]
    size: tuple[int, int]
    near: float
    model: Model = "perspective"
    distortion: Float[Tensor, "8"] | None = None
    fold: float = math.inf

    @classmethod
    def of(cls, cameras: Cameras, index: int, near: float) -> "View":
        """Camera `index`; gradients flow into its pose."""
        kind = int(cameras.models[index])
        width, height = cameras.sizes[index].tolist()
        lens = cameras.distortion[index]
        bent = bool(lens.any()) or CAMERA_MODELS[kind] == "fisheye"
        return cls(
            cameras[index].w2c[0], cameras.intrinsics[index].to(cameras.c2w), (width, height), near,
            _PROJECTIONS[CAMERA_MODELS[kind]] if bent else "perspective", lens.to(cameras.c2w) if bent else None,
            lenses.fold(lens, kind) if bent else math.inf,
        )  # fmt: skip

    def bounds(self) -> LensBounds | None:
        """What culling must know of the lens; None for a pinhole."""
        if self.model not in ("opencv", "fisheye"):
            return None
        assert self.distortion is not None
        return LensBounds.of(self.model, self.distortion, self.fold, self.intrinsics, self.size)


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


def project_to(gaussians: Gaussians, view: View, *, in_backward: BackwardSteps | None = None) -> Projected:
    """Gaussians in the image of a camera; see `splat`."""
    return project(
        gaussians.means, gaussians.quats, gaussians.log_scales, gaussians.opacity_logits, view.w2c, view.intrinsics,
        view.size, near=view.near, antialiased=gaussians.antialiased, model=view.model, distortion=view.distortion,
        fold=view.fold, in_backward=in_backward,
    )  # fmt: skip


def splat(
    gaussians: Gaussians,
    view: View,
    *,
    degree: int | None = None,
    background: Float[Tensor, "3"] | None = None,
    with_depth: bool = False,
    absolute: Float[Tensor, "N"] | None = None,
    in_backward: BackwardSteps | None = None,
) -> Splatted:
    """Draws Gaussians as one camera sees them; differentiable in all of their parameters and in the view.

    Args:
        gaussians: In any order; Morton order is quicker.
        view: The camera.
        degree: Of the spherical harmonics that count; all by default.
        background: Behind everything; black by default.
        with_depth: Blend depths too.
        absolute: See `neural.cuda.gaussian_blend.blend`.
        in_backward: Steps of parameters that the backward pass makes; see `neural.optim.Adam.in_backward`.
    """
    projected = project_to(gaussians, view, in_backward=in_backward)
    centre = -(view.w2c[:3, :3].T @ view.w2c[:3, 3]).to(gaussians.means)
    features = gaussian_color(
        gaussians.means, centre, gaussians.sh0, gaussians.shN, gaussians.sh_degree if degree is None else degree,
        opacities=projected.opacities.detach(), in_backward=in_backward,
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
    return next(render_bands(gaussians, cameras, index, background=background, near=near, bands=1))


@torch.no_grad()
def render_bands(
    gaussians: Gaussians, cameras: Cameras, index: int, *, background: Float[Tensor, "3"], near: float, bands: int
) -> Iterator[Rendering]:
    """As `render_camera`, in bands of rows from the top, so that it can be given up between two.

    Projection and colours are made once and for the whole picture: an affine projection depends on its size, so that
    pictures of bands would not fit together.

    Args:
        gaussians, cameras, index, background, near: As there.
        bands: How many, at most one for each row; 16 rows are blended at once.
    """
    device = gaussians.means.device
    view = View.of(cameras, index, near)
    width, height = view.size
    projected = project_to(gaussians, view)
    centre = -(view.w2c[:3, :3].T @ view.w2c[:3, 3]).to(gaussians.means)
    colors = gaussian_color(
        gaussians.means, centre, gaussians.sh0, gaussians.shN, gaussians.sh_degree, opacities=projected.opacities
    )
    features = torch.cat([colors.t(), projected.depths[None]]).t()
    behind = torch.cat([background.to(device), torch.zeros(1, device=device)])
    cosines = None
    if CAMERA_MODELS[int(cameras.models[index])] != "fisheye":  # whose depths are distances already
        cosines = image_rays(cameras, index).directions.to(device) @ cameras.c2w[index, :3, 2].to(features)
    for band in range(bands):
        first, last = height * band // bands, height * (band + 1) // bands
        shift = projected.means2d.new_tensor([0.0, first])
        here = projected._replace(means2d=projected.means2d - shift) if first else projected
        size = width, last - first
        tiles = intersect(*here, size)
        shown = blend(here.means2d, here.conics, here.opacities, features, tiles, size, background=behind)
        depth = shown.colors[..., 3].flatten()
        if cosines is not None:
            depth = depth / cosines[first * width : last * width]
        yield Rendering(shown.colors[..., :3].reshape(-1, 3), shown.alphas.flatten(), depth)
