"""COLMAP's database and models as this package uses them: numbered photographs in, plain arrays out.

Imported by the worker only; every function imports pycolmap, which no other process may.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from neural import atomic

MIN_OBSERVATIONS = 12  # points that a photograph must see to count as registered
TWO_VIEW_MATCHES = 15  # matches that agree on a geometry for two photographs to be partners


def name_of(index: int) -> str:
    """A photograph's name in the database."""
    return f"{index:08d}"


def build(path: Path, photographs: Sequence[Mapping[str, Any]], cameras: Sequence[Mapping[str, Any]]) -> None:
    """A new database with cameras, photographs and their features; it appears under its name when it is whole.

    Args:
        path: Of the database.
        photographs: `index`, `camera` (index of `cameras`) and `features` (file).
        cameras: `model` (COLMAP's name), `focal`, `known` (whether that is more than a guess), `size`.
    """
    import pycolmap

    temporary = path.with_name(path.name + ".tmp")
    temporary.unlink(missing_ok=True)
    with pycolmap.Database.open(temporary) as db:
        ids = []
        for number, one in enumerate(cameras, 1):
            camera = pycolmap.Camera.create_from_model_name(number, one["model"], one["focal"], *one["size"])
            camera.has_prior_focal_length = one["known"]
            camera_id = db.write_camera(camera, use_camera_id=True)
            rig = pycolmap.Rig(rig_id=number)
            rig.add_ref_sensor(camera.sensor_id)
            ids.append((camera_id, db.write_rig(rig, use_rig_id=True)))
        for one in photographs:
            camera_id, rig_id = ids[one["camera"]]
            number = one["index"] + 1
            image = pycolmap.Image(name=name_of(one["index"]), camera_id=camera_id, image_id=number)
            db.write_image(image, use_image_id=True)
            frame = pycolmap.Frame(frame_id=number, rig_id=rig_id)
            frame.add_data_id(image.data_id)
            db.write_frame(frame, use_frame_id=True)
            with np.load(one["features"]) as features:
                db.write_keypoints(number, features["places"])
                described = pycolmap.FeatureDescriptors(
                    pycolmap.FeatureExtractorType.SIFT, np.ascontiguousarray(features["descriptors"])
                )
                db.write_descriptors(number, described)
    temporary.replace(path)


def partners(path: Path) -> dict[str, list[int]]:
    """For every photograph the others that share a geometry with it, by index."""
    import pycolmap

    found: dict[str, list[int]] = {}
    with pycolmap.Database.open(path) as db:
        for image in db.read_all_images():
            found[str(image.image_id - 1)] = []
        pairs, counts = db.read_two_view_geometry_num_inliers()
        for pair, count in zip(pairs, counts, strict=True):
            if count >= TWO_VIEW_MATCHES:
                a, b = pycolmap.pair_id_to_image_pair(pair)
                found[str(a - 1)].append(int(b) - 1)
                found[str(b - 1)].append(int(a) - 1)
    return found


def write_model(path: Path, model: Any) -> None:
    """A reconstruction as arrays: poses, lenses, points, and which photograph saw which point where.

    Photographs that see almost nothing of it are left out: a global mapper gives a pose to all that it has.
    """
    images = sorted(
        (i for i in model.images.values() if i.has_pose and i.num_points3D >= MIN_OBSERVATIONS),
        key=lambda image: image.image_id,
    )
    place = {image.image_id: row for row, image in enumerate(images)}
    cameras = [model.cameras[image.camera_id] for image in images]
    points: list[tuple[float, ...]] = []
    point_of, camera_of, feature_of = [], [], []
    for point in model.points3D.values():
        seen = [(place[e.image_id], e.point2D_idx) for e in point.track.elements if e.image_id in place]
        if len(seen) < 2:
            continue
        for camera, feature in seen:
            point_of.append(len(points))
            camera_of.append(camera)
            feature_of.append(feature)
        points.append((*point.xyz, point.error))
    table = np.array(points, dtype=np.float64).reshape(-1, 4)
    w2c = np.tile(np.eye(4), (len(images), 1, 1))
    for row, image in enumerate(images):
        w2c[row, :3] = image.cam_from_world().matrix()
    params = np.zeros((len(images), 12))
    for row, camera in enumerate(cameras):
        params[row, : len(camera.params)] = camera.params
    with atomic.replacing(path) as file:
        np.savez(
            file,
            indices=np.array([image.image_id - 1 for image in images], dtype=np.int64),
            w2c=w2c,
            models=np.array([camera.model_name for camera in cameras], dtype="U24"),
            params=params,
            points=table[:, :3],
            errors=table[:, 3],
            point_of=np.array(point_of, dtype=np.int64),
            camera_of=np.array(camera_of, dtype=np.int64),
            feature_of=np.array(feature_of, dtype=np.int64),
        )
