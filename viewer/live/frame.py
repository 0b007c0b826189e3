"""Between the scene and the browser, which counts in float32 and expects a scene of a few units around its origin."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from neural.arrangement import camera_radius, focus_point, up_direction
from neural.cameras import Cameras
from neural.poses import quat_from_rotation

LEAST_AGREEMENT = 0.3  # of the optical axes on the point they look at


@dataclass(frozen=True)
class ViewerFrame:
    """Browser = (scene - centre) / unit; axes and up direction are the scene's.

    Attributes:
        centre: Of what is looked at, scene units; the browser's origin.
        unit: Scene units in one of the browser.
        up: Unit vector.
    """

    centre: Float64[np.ndarray, "3"]
    unit: float
    up: Float64[np.ndarray, "3"]

    @classmethod
    def of_cameras(
        cls, cameras: Cameras, box: Float64[np.ndarray, "2 3"], up: Float64[np.ndarray, "3"] | None = None
    ) -> "ViewerFrame":
        """Around what photographs look at, or the box if they agree on nothing; up is as they are held by default."""
        focus, agreement = focus_point(cameras)
        centre = focus if agreement >= LEAST_AGREEMENT else box.mean(0)
        distances = np.linalg.norm(cameras.origins.cpu().double().numpy() - centre, axis=1)
        unit = float(np.median(distances)) / 2 or camera_radius(cameras) or float((box[1] - box[0]).max()) / 2
        return cls(centre, unit or 1.0, up_direction(cameras) if up is None else up)

    @classmethod
    def of_points(cls, points: Float64[np.ndarray, "N 3"], up: Float64[np.ndarray, "3"]) -> "ViewerFrame":
        """Around the bulk of some points."""
        centre = np.median(points, axis=0)
        unit = float(np.quantile(np.linalg.norm(points - centre, axis=1), 0.8))
        return cls(centre, unit or 1.0, up)

    def to_scene(self, c2w: Float64[np.ndarray, "4 4"]) -> Float64[np.ndarray, "4 4"]:
        """A pose of the browser in the scene."""
        pose = c2w.copy()
        pose[:3, 3] = c2w[:3, 3] * self.unit + self.centre
        return pose

    def points(self, scene: Float64[np.ndarray, "*N 3"]) -> Float64[np.ndarray, "*N 3"]:
        """Points of the scene in the browser."""
        return (scene - self.centre) / self.unit

    def pose(self, c2w: Float64[np.ndarray, "4 4"]) -> tuple[np.ndarray, np.ndarray]:
        """A camera of the scene as viser takes it: wxyz and position."""
        return quat_from_rotation(c2w[:3, :3]), self.points(c2w[:3, 3])
