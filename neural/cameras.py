"""Posed cameras: what every reader returns and every renderer takes.

Axes are OpenCV's (x right, y down, z forward). Pixel (column, row) covers [column, column + 1) x [row, row
+ 1), so the centre of the first pixel is (0.5, 0.5) and the image spans [0, width] x [0, height].
"""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neural import lenses
from neural.lenses import CAMERA_MODELS

__all__ = ["CAMERA_MODELS", "Cameras"]


@dataclass(frozen=True)
class Cameras:
    """C cameras with their lenses.

    Args:
        c2w: Camera to world, rotation and translation only, in scene units. Readers make it float64.
        intrinsics: fx fy cx cy in pixels.
        sizes: Width and height in pixels.
        models: Index into `CAMERA_MODELS`.
        distortion: Eight lens coefficients; their order per model is in `neural.lenses`.
    """

    c2w: Float[Tensor, "C 4 4"]
    intrinsics: Float[Tensor, "C 4"]
    sizes: Int[Tensor, "C 2"]
    models: Int[Tensor, "C"]
    distortion: Float[Tensor, "C 8"]

    def __post_init__(self) -> None:
        n = self.c2w.shape[0]
        expected = {
            "c2w": (n, 4, 4),
            "intrinsics": (n, 4),
            "sizes": (n, 2),
            "models": (n,),
            "distortion": (n, 8),
        }
        for field, shape in expected.items():
            if (got := tuple(getattr(self, field).shape)) != shape:
                raise ValueError(f"Cameras.{field} must be {list(shape)}, got {list(got)}")

    @classmethod
    def pinhole(
        cls, c2w: Float[Tensor, "C 4 4"], intrinsics: Float[Tensor, "C 4"], sizes: Int[Tensor, "C 2"]
    ) -> "Cameras":
        """Cameras without distortion."""
        n = c2w.shape[0]
        models = torch.zeros(n, dtype=torch.int64, device=c2w.device)
        return cls(c2w, intrinsics, sizes, models, intrinsics.new_zeros(n, 8))

    def __len__(self) -> int:
        return self.c2w.shape[0]

    def __getitem__(self, index: int | slice | list[int] | Int[Tensor, "N"]) -> "Cameras":
        """The chosen cameras; an integer gives one camera, still as `Cameras` of length 1."""
        if isinstance(index, int):
            if not -len(self) <= index < len(self):
                raise IndexError(f"camera {index} of {len(self)}")
            index = [index]
        return Cameras(
            self.c2w[index],
            self.intrinsics[index],
            self.sizes[index],
            self.models[index],
            self.distortion[index],
        )

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> "Cameras":
        """Copy to a device; `dtype=torch.float32` for speed once the scene is near the origin."""
        return Cameras(
            self.c2w.to(device, dtype),
            self.intrinsics.to(device, dtype),
            self.sizes.to(device),
            self.models.to(device),
            self.distortion.to(device, dtype),
        )

    def relative_to(self, origin: Float[Tensor, "3"]) -> "Cameras":
        """The same cameras seen from `origin`: the axes stay, that point becomes (0, 0, 0).

        In float64, and before any copy to float32: of a position in UTM metres that would leave half a metre.
        """
        c2w = self.c2w.clone()
        c2w[:, :3, 3] -= origin.to(c2w)
        return self.posed(c2w)

    def posed(self, c2w: Float[Tensor, "C 4 4"]) -> "Cameras":
        """The same lenses at other poses; gradients flow from rays into `c2w` (pose refinement)."""
        cameras = replace(self, c2w=c2w)
        cameras.__dict__["kinds"] = self.kinds  # spares a device synchronisation per training step
        return cameras

    def scaled(self, factor: float) -> "Cameras":
        """Cameras of images resized by `factor`; a last fraction of a pixel is cut off.

        Pixel coordinates are just multiplied: they count from the image corner, not from a pixel centre.
        """
        sizes = torch.floor(self.sizes.double() * factor + 1e-6).long()
        if not bool((sizes > 0).all()):
            raise ValueError(f"scaled({factor}) leaves an image without pixels; use a larger factor")
        return replace(self, intrinsics=self.intrinsics * factor, sizes=sizes)

    def resized(self, sizes: Int[Tensor, "C 2"]) -> "Cameras":
        """Cameras of images stretched to `sizes` (width, height), as image tools do when they round sizes."""
        ratio = sizes.to(self.intrinsics) / self.sizes.to(self.intrinsics)
        return replace(self, intrinsics=self.intrinsics * ratio.repeat(1, 2), sizes=sizes)

    @property
    def origins(self) -> Float[Tensor, "C 3"]:
        """Optical centres in the world."""
        return self.c2w[:, :3, 3]

    @property
    def K(self) -> Float[Tensor, "C 3 3"]:
        """Calibration matrices."""
        K = torch.zeros_like(self.c2w[:, :3, :3])
        K[:, 0, 0], K[:, 1, 1], K[:, 0, 2], K[:, 1, 2] = self.intrinsics.unbind(-1)
        K[:, 2, 2] = 1
        return K

    @property
    def w2c(self) -> Float[Tensor, "C 4 4"]:
        """World to camera: the rigid inverse of `c2w`."""
        inverse = self.c2w.clone()
        rotation = self.c2w[:, :3, :3].transpose(1, 2)
        inverse[:, :3, :3] = rotation
        inverse[:, :3, 3] = -(rotation @ self.c2w[:, :3, 3:])[..., 0]
        return inverse

    @cached_property
    def kinds(self) -> tuple[int, ...]:
        """The lens models that occur, known on the host so that rays of one lens need no masks."""
        return tuple(sorted(set(self.models.tolist())))

    def project(self, points: Float[Tensor, "P 3"], index: int) -> tuple[Float[Tensor, "P 2"], Float[Tensor, "P"]]:
        """Where camera `index` sees world points.

        Returns:
            Pixels (NaN where the lens cannot see the point; they may lie outside the image), and depth along
            the optical axis in scene units.
        """
        c2w = self.c2w[index]
        local = (points.to(c2w) - c2w[:3, 3]) @ c2w[:3, :3]
        plane = lenses.project(local, self.distortion[index], int(self.models[index]))
        return plane * self.intrinsics[index, :2] + self.intrinsics[index, 2:], local[:, 2]

    def unproject(self, pixels: Float[Tensor, "P 2"], depth: Float[Tensor, "P"], index: int) -> Float[Tensor, "P 3"]:
        """World points at `depth` along the optical axis under given pixels; inverts `project`."""
        indices = torch.full((pixels.shape[0],), index, dtype=torch.int64, device=self.c2w.device)
        local = self._local(indices, pixels)
        c2w = self.c2w[index]
        return (local * (depth.to(c2w) / local[:, 2])[:, None]) @ c2w[:3, :3].T + c2w[:3, 3]

    def directions(self, camera_indices: Int[Tensor, "R"], pixels: Float[Tensor, "R 2"]) -> Float[Tensor, "R 3"]:
        """Unit directions, in the world, of the rays through `pixels`; differentiable in `c2w` only."""
        with torch.no_grad():
            local = torch.nn.functional.normalize(self._local(camera_indices, pixels), dim=-1)
        rotation = self.c2w[:, :3, :3].index_select(0, camera_indices)  # its backward adds in order
        return (rotation * local[:, None, :]).sum(-1)

    def _local(self, camera_indices: Tensor, pixels: Tensor) -> Tensor:
        """Ray directions in camera axes, of any length."""
        intrinsics = self.intrinsics[camera_indices]
        plane = (pixels.to(intrinsics) - intrinsics[:, 2:]) / intrinsics[:, :2]
        if len(self.kinds) == 1:
            (model,) = self.kinds
            if model == lenses.PINHOLE:
                return torch.cat([plane, torch.ones_like(plane[:, :1])], dim=-1)
            return lenses.unproject(plane, self.distortion[camera_indices], model)
        models = self.models[camera_indices]
        local = plane.new_empty(plane.shape[0], 3)
        for model in self.kinds:
            rows = torch.nonzero(models == model)[:, 0]
            local[rows] = lenses.unproject(plane[rows], self.distortion[camera_indices[rows]], model)
        return local
