"""A posed capture: cameras, images, points, splits, the scene box, and the way back to the file's world."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from neural.arrangement import camera_radius, up_direction
from neural.cameras import Cameras
from neural.scenes.capture import Points
from neural.scenes.files.gaussians import axes
from neural.scenes.images import ImageStack


@dataclass(frozen=True)
class Scene:
    """A capture ready for training; nothing in it was recentred or rescaled unless `transformed` was called.

    Args:
        name: For titles and run folders.
        path: Where it was read from; None for a scene made in memory.
        cameras: float64, on the CPU.
        images: One per camera, uint8 sRGB with 3 channels or 4 (straight alpha); None for a scene without
            any.
        masks: One per camera, 255 = use the pixel; None if the capture has none.
        image_names: One per camera, unique.
        splits: Camera indices; has at least "train" and "test".
        points: Sparse or dense points in this scene's frame.
        aabb: float64, low and high corner of the scene box.
        world_to_scene: A similarity from the file's world to this scene's frame.
        metres_per_unit: Length of one scene unit, where known.
        crs: Coordinate reference system of the file's world, where known.
        axes: Where x, y and z of the file's world point, as `neural.scenes.files.gaussians.axes` names them; RDF
            unless the files say others.
        background: What transparent pixels are to be composited on; None for opaque images.
        unbounded: Whether the images see things beyond the box.
        warnings: What the reader noticed, a sentence each.
        format: The kind of capture and the file that lists its cameras, for people; None for a scene made in memory.
        image_paths: Where the images were read from, one per camera; None likewise.
    """

    name: str
    path: Path | None
    cameras: Cameras
    images: ImageStack | None
    masks: ImageStack | None
    image_names: tuple[str, ...]
    splits: dict[str, tuple[int, ...]]
    points: Points | None
    aabb: Float[Tensor, "2 3"]
    world_to_scene: Float64[np.ndarray, "4 4"]
    metres_per_unit: float | None = None
    crs: str | None = None
    axes: str = "RDF"
    background: Literal["white", "black"] | None = None
    unbounded: bool = True
    warnings: tuple[str, ...] = ()
    format: str | None = None
    image_paths: tuple[Path, ...] | None = None

    def __post_init__(self) -> None:
        n = len(self.cameras)
        for part in ("images", "masks", "image_names", "image_paths"):
            value = getattr(self, part)
            if value is not None and len(value) != n:
                raise ValueError(f"Scene.{part} has {len(value)} entries for {n} cameras")
        if not {"train", "test"} <= self.splits.keys():
            raise ValueError(f"Scene.splits needs 'train' and 'test', got {sorted(self.splits)}")
        if self.images is not None and (self.cameras.sizes.numpy() != self.images.sizes).any():
            raise ValueError("Scene.cameras.sizes and Scene.images.sizes differ")

    @property
    def extent(self) -> float:
        """1.1 x the radius of the training cameras about their mean, the length that splat rates scale with.

        Source: Kerbl et al. 2023, "3D Gaussian Splatting", reference code (`getNerfppNorm`).
        """
        train = self.cameras[list(self.splits["train"])] if self.splits["train"] else self.cameras
        return 1.1 * camera_radius(train)

    @property
    def says_up(self) -> bool:
        """Whether the files say which way is up; RDF is what files without a word are taken for."""
        return self.axes != "RDF"

    @property
    def up(self) -> Float64[np.ndarray, "3"]:
        """Unit vector of this frame: as the files say, else as the cameras are held."""
        if not self.says_up:
            return up_direction(self.cameras)
        up = self.world_to_scene[:3, :3] @ axes.up(self.axes)
        return up / np.linalg.norm(up)

    def transformed(self, similarity: Float64[np.ndarray, "4 4"]) -> "Scene":
        """The same capture in another frame; `scene.transformed(np.linalg.inv(scene.world_to_scene))`
        undoes all.

        Cameras and points are carried over exactly. The new box is the smallest upright one around the
        carried-over box, so it grows when the similarity rotates.

        Args:
            similarity: From this frame to the new one: rotation, uniform scale, translation.

        Raises:
            ValueError: Not a similarity, or one that mirrors.
        """
        similarity = np.asarray(similarity, dtype=np.float64)
        linear = similarity[:3, :3]
        scale = float(np.cbrt(np.linalg.det(linear)))
        if not (scale > 0 and np.allclose(linear @ linear.T, scale**2 * np.eye(3), atol=1e-6 * scale**2)):
            raise ValueError("transformed needs a rotation times a uniform positive scale")
        c2w = torch.from_numpy(similarity) @ self.cameras.c2w
        c2w[:, :3, :3] /= scale
        corners = np.stack(np.meshgrid(*self.aabb.numpy().T, indexing="ij"), axis=-1).reshape(8, 3)
        corners = corners @ linear.T + similarity[:3, 3]
        points = self.points
        if points is not None:
            points = replace(points, xyz=points.xyz @ linear.T + similarity[:3, 3])
        return replace(
            self,
            cameras=self.cameras.posed(c2w),
            points=points,
            aabb=torch.from_numpy(np.stack([corners.min(axis=0), corners.max(axis=0)])),
            world_to_scene=similarity @ self.world_to_scene,
            metres_per_unit=None if self.metres_per_unit is None else self.metres_per_unit / scale,
        )

    def normalised(self, *, radius: float = 1.0, upright: bool = False) -> "Scene":
        """Centre the scene box at the origin and scale it, as an explicit and invertible step.

        Args:
            radius: Half of the longest side of the box afterwards.
            upright: Also turn what is up to +z.
        """
        low, high = self.aabb.numpy()
        rotation = _turn(self.up, np.array([0.0, 0.0, 1.0])) if upright else np.eye(3)
        scale = 2 * radius / float((high - low).max())
        similarity = np.eye(4)
        similarity[:3, :3] = scale * rotation
        similarity[:3, 3] = -scale * rotation @ ((low + high) / 2)
        return self.transformed(similarity)

    def downscaled(self, n: int) -> "Scene":
        """Images, masks and cameras reduced by an integer factor, in memory; see also `load(downscale=n)`."""
        if n < 1:
            raise ValueError(f"downscaled: the factor must be at least 1, got {n}")
        points = self.points
        if points is not None and points.observations is not None:
            seen = points.observations
            points = replace(points, observations=replace(seen, pixels=seen.pixels / n))
        return replace(
            self,
            cameras=self.cameras.scaled(1 / n),
            images=self.images and self.images.downscaled(n),
            masks=self.masks and self.masks.downscaled(n),
            points=points,
        )

    def subset(self, which: str | Sequence[int]) -> "Scene":
        """Some of the cameras with their images: a split by name, or indices in any order; the box stays.

        Observations of points by other cameras are dropped; the points stay.
        """
        chosen = list(self.splits[which] if isinstance(which, str) else which)
        moved = {old: new for new, old in enumerate(chosen)}
        points = self.points
        if points is not None and points.observations is not None:
            seen = points.observations
            new_index = np.full(len(self.cameras), -1, dtype=np.int64)
            new_index[chosen] = np.arange(len(chosen))
            keep = new_index[seen.cameras] >= 0
            kept = replace(
                seen,
                points=seen.points[keep],
                cameras=new_index[seen.cameras[keep]],
                pixels=seen.pixels[keep],
            )
            points = replace(points, observations=kept)
        return replace(
            self,
            cameras=self.cameras[chosen],
            images=self.images and self.images.subset(chosen),
            masks=self.masks and self.masks.subset(chosen),
            image_names=tuple(self.image_names[i] for i in chosen),
            image_paths=self.image_paths and tuple(self.image_paths[i] for i in chosen),
            splits={name: tuple(moved[i] for i in members if i in moved) for name, members in self.splits.items()},
            points=points,
        )


def _turn(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """The smallest rotation that takes one unit vector to another."""
    axis, cosine = np.cross(start, end), float(start @ end)
    if cosine < -1 + 1e-12:  # opposite: half a turn about anything perpendicular
        axis = np.cross(start, np.eye(3)[np.argmin(np.abs(start))])
        axis /= np.linalg.norm(axis)
        return 2 * np.outer(axis, axis) - np.eye(3)
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + cross + cross @ cross / (1 + cosine)
