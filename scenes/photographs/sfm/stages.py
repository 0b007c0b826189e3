"""The stages between photographs and cameras, each kept in the cache under a digest of what it was made from.

    CACHE/features/<digest>.npz   one photograph's features
    CACHE/matches-<digest>.db     a set of photographs, and the pairs compared so far (COLMAP's database)
    CACHE/model-<digest>.npz      cameras and points found from them

A file is there whole or not at all, a database grows pair by pair: whatever a killed process had finished is found
again, and what was made from other photographs or settings is never taken for it.
"""

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from neural import atomic
from neural.scenes.photographs.sfm import process
from neural.scenes.photographs.survey import Photograph

_FORMAT = 1  # part of every digest: raise it when a stage changes
GUESSED_FOCAL = 1.2  # of the longer side, where EXIF is silent; a lens of a telephone
SIFT: dict[str, Any] = {"max_num_features": 8192}
FINER: dict[str, Any] = {"max_num_features": 16384, "peak_threshold": 0.0033, "estimate_affine_shape": False}
MATCHING: dict[str, Any] = {"max_ratio": 0.8}
CAREFUL: dict[str, Any] = {"min_matches": 15, "mapper": {}}
LENIENT: dict[str, Any] = {
    "min_matches": 10,
    "mapper": {
        "init_min_num_inliers": 50, "init_min_tri_angle": 6.0, "abs_pose_min_num_inliers": 15,
        "abs_pose_min_inlier_ratio": 0.15, "filter_min_tri_angle": 0.8,
    },
}  # fmt: skip


@dataclass(frozen=True)
class Inputs:
    """What goes in.

    Attributes:
        photographs: Of a survey.
        cameras: Number of the camera of each photograph.
        focals: Focal length of each camera in pixels of the stored pictures; None where unknown.
        side: Pixels of the longer side at which features are looked for.
    """

    photographs: Sequence[Photograph]
    cameras: Sequence[int]
    focals: Sequence[float | None]
    side: int

    def size(self, index: int) -> tuple[int, int]:
        """Width and height at which features of a photograph are looked for."""
        one = self.photographs[index]
        shrink = min(1.0, self.side / max(one.width, one.height))
        return max(1, round(one.width * shrink)), max(1, round(one.height * shrink))


@dataclass(frozen=True)
class Model:
    """Cameras and points that a mapper has found; pixels are those of the reduced pictures.

    Attributes:
        indices: Of the photographs that have a pose.
        w2c: Their poses, OpenCV axes.
        lenses: COLMAP's model of each.
        params: Of the lenses, in COLMAP's order, zeros behind.
        points: Positions.
        errors: Mean distance in pixels between where each point is seen and where it should be.
        point_of: Observations: the point, ...
        camera_of: ... the row of `indices`, ...
        feature_of: ... and the feature's number in its photograph.
        sizes: How many photographs each of the separate models had that were found.
    """

    indices: np.ndarray
    w2c: np.ndarray
    lenses: np.ndarray
    params: np.ndarray
    points: np.ndarray
    errors: np.ndarray
    point_of: np.ndarray
    camera_of: np.ndarray
    feature_of: np.ndarray
    sizes: tuple[int, ...] = ()


@dataclass
class Stages:
    """Runs stages for one set of photographs.

    Attributes:
        inputs: See `Inputs`.
        cache: Folder of the stages' files.
        progress: Whether to draw progress bars.
        threads: That a stage may use.
        failed: Index of a photograph that could not be decoded, and why.
    """

    inputs: Inputs
    cache: Path
    progress: bool = True
    threads: int = field(default_factory=lambda: os.cpu_count() or 1)
    failed: dict[int, str] = field(default_factory=dict)

    def extract(self, sift: Mapping[str, Any]) -> list[Path | None]:
        """The files of features, one per photograph; None for one that cannot be decoded."""
        folder = self.cache / "features"
        folder.mkdir(parents=True, exist_ok=True)
        files = [folder / f"{self._feature_digest(i, sift)}.npz" for i in range(len(self.inputs.photographs))]
        left = [
            {
                "index": index, "file": str(one.path), "mask": str(one.mask) if one.mask else None,
                "size": self.inputs.size(index), "features": str(file),
            }
            for index, (one, file) in enumerate(zip(self.inputs.photographs, files, strict=True))
            if not file.is_file() and index not in self.failed
        ]  # fmt: skip
        if left:
            job = {"stage": "extract", "photographs": left, "settings": {"sift": dict(sift)}, "threads": self.threads}
            result = process.run(job, self.cache, "features", progress=self.progress)
            self.failed |= {int(index): why for index, why in result["failed"].items()}
        return [None if index in self.failed else file for index, file in enumerate(files)]

    def match(
        self, files: Sequence[Path | None], pairs: Sequence[tuple[int, int]]
    ) -> tuple[Path, dict[int, list[int]]]:
        """The database of matches, and for every photograph the others that share a geometry with it."""
        usable = [index for index, file in enumerate(files) if file is not None]
        cameras = self._cameras()
        recipe = [_FORMAT, [files[i].stem for i in usable], usable, cameras, list(self.inputs.cameras), MATCHING]  # type: ignore[union-attr]
        path = self.cache / f"matches-{_digest(recipe)}.db"
        chosen = [pair for pair in pairs if files[pair[0]] is not None and files[pair[1]] is not None]
        done = path.with_name(f"{path.stem}-{_digest(chosen)}.json")
        if not (done.is_file() and path.is_file()):
            job = {
                "stage": "match", "database": str(path), "pairs": chosen, "cameras": cameras, "threads": self.threads,
                "settings": {"matching": MATCHING},
                "photographs": [
                    {"index": i, "camera": self.inputs.cameras[i], "features": str(files[i])} for i in usable
                ],
            }  # fmt: skip
            result = process.run(job, self.cache, "matches", progress=self.progress)
            atomic.write_json(done, result["partners"])
        partners = json.loads(done.read_text("utf-8"))
        return path, {int(index): list(others) for index, others in partners.items()}

    def map(
        self,
        matches: Path,
        pairs: Sequence[tuple[int, int]],
        kind: Literal["global", "incremental"],
        settings: Mapping[str, Any],
    ) -> Model | None:
        """Cameras and points; None where no two photographs fit together."""
        name = f"model-{_digest([_FORMAT, matches.stem, list(pairs), kind, settings])}"
        result, done = self.cache / f"{name}.npz", self.cache / f"{name}.json"
        sizes = json.loads(done.read_text("utf-8")) if done.is_file() else None
        if sizes is None or (sizes and not result.is_file()):
            job = {
                "stage": "map", "kind": kind, "database": str(matches), "models": str(self.cache / "models"),
                "result": str(result), "settings": settings, "threads": self.threads,
                "of": len(self.inputs.photographs),
            }  # fmt: skip
            sizes = process.run(job, self.cache, f"cameras ({kind})", progress=self.progress)["models"]
            atomic.write_json(done, sizes)
        if not sizes:
            return None
        with np.load(result) as arrays:
            model = Model(
                **{name: arrays[name] for name in arrays.files if name != "models"},
                lenses=arrays["models"],
                sizes=tuple(sizes),
            )
        return model if len(model.indices) else None

    def _cameras(self) -> list[dict[str, Any]]:
        """Each camera as the database is to begin with, in pixels of the reduced pictures."""
        cameras = []
        for number, focal in enumerate(self.inputs.focals):
            index = self.inputs.cameras.index(number)
            size, one = self.inputs.size(index), self.inputs.photographs[index]
            known = focal is not None
            start = (focal or GUESSED_FOCAL * max(one.width, one.height)) * size[0] / one.width
            cameras.append({"model": "SIMPLE_RADIAL", "focal": start, "known": known, "size": size})
        return cameras

    def _feature_digest(self, index: int, sift: Mapping[str, Any]) -> str:
        one = self.inputs.photographs[index]
        files = [one.path, *([one.mask] if one.mask else [])]
        stats = [(str(path.absolute()), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
        return _digest([_FORMAT, stats, self.inputs.size(index), sift])


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:20]
