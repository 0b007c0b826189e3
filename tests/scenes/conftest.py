"""A tiny capture with known geometry, written in every format that the readers know."""

import json
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from neural.poses import look_at, quat_from_rotation
from neural.scenes.files import ply

N_IMAGES, WIDTH, HEIGHT = 9, 20, 12
LENS = {"fl_x": 24.0, "fl_y": 25.0, "cx": 9.5, "cy": 6.25}
BENDS = {"k1": 0.05, "k2": -0.01, "p1": 0.001, "p2": -0.002}
_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])


@dataclass(frozen=True)
class Tiny:
    """Nine cameras on a ring about the origin, eleven points, and writers for them."""

    folder: Path
    c2w: np.ndarray
    names: tuple[str, ...]
    xyz: np.ndarray
    rgb: np.ndarray

    def images(self, folder: Path, alpha: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for i, name in enumerate(self.names):
            rng = np.random.default_rng(i)
            pixels = rng.integers(0, 256, (HEIGHT, WIDTH, 4 if alpha else 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name)

    def document(self, prefix: str = "images/", **fields) -> dict:
        frames = [
            {"file_path": f"{prefix}{name}", "transform_matrix": (pose @ _OPENGL).tolist()}
            for name, pose in zip(self.names, self.c2w, strict=True)
        ]
        return {**LENS, **BENDS, "w": WIDTH, "h": HEIGHT, "frames": frames, **fields}

    def nerfstudio(self, **fields) -> Path:
        self.images(self.folder / "images")
        ply.write_points(self.folder / "points.ply", self.xyz, self.rgb)
        content = self.document(camera_model="OPENCV", ply_file_path="points.ply", **fields)
        return self.json("transforms.json", content)

    def json(self, name: str, content: object) -> Path:
        (self.folder / name).write_text(json.dumps(content))
        return self.folder

    def blender(self, alpha: bool = True) -> Path:
        self.images(self.folder / "train", alpha)
        self.images(self.folder / "test", alpha)
        content = self.document("./train/")
        for frame in content["frames"]:
            frame["file_path"] = frame["file_path"].removesuffix(".png")
        angle = 2 * np.arctan(WIDTH / 2 / LENS["fl_x"])
        frames = content["frames"]
        self.json("transforms_train.json", {"camera_angle_x": angle, "frames": frames[:7]})
        held_out = [{**f, "file_path": f["file_path"].replace("train", "test")} for f in frames[7:]]
        return self.json("transforms_test.json", {"camera_angle_x": angle, "frames": held_out})

    def poses(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """w2c as quaternion and translation."""
        return [(quat_from_rotation(m[:3, :3].T), -m[:3, :3].T @ m[:3, 3]) for m in self.c2w]

    def colmap_binary(self) -> Path:
        self.images(self.folder / "images")
        model = self.folder / "sparse" / "0"
        model.mkdir(parents=True, exist_ok=True)
        params = (*LENS.values(), *BENDS.values())
        (model / "cameras.bin").write_bytes(struct.pack("<QiiQQ8d", 1, 3, 4, WIDTH, HEIGHT, *params))
        data = struct.pack("<Q", len(self.names))
        for i, (name, (quat, translation)) in enumerate(zip(self.names, self.poses(), strict=True)):
            data += struct.pack("<i7di", i + 1, *quat, *translation, 3) + name.encode() + b"\0"
            data += struct.pack("<QddqddQ", 2, 1.5, 2.5, 100 + i, 3.5, 4.5, 2**64 - 1)
        (model / "images.bin").write_bytes(data)
        data = struct.pack("<Q", len(self.xyz))
        for i, (xyz, rgb) in enumerate(zip(self.xyz, self.rgb.tolist(), strict=True)):
            data += struct.pack("<Q3d3BdQii", 100 + i, *xyz, *rgb, 0.5, 1, min(i, 8) + 1, 0)
        (model / "points3D.bin").write_bytes(data)
        return self.folder

    def colmap_text(self) -> Path:
        self.images(self.folder / "images")
        model = self.folder / "sparse" / "0"
        model.mkdir(parents=True, exist_ok=True)
        params = " ".join(repr(v) for v in (*LENS.values(), *BENDS.values()))
        (model / "cameras.txt").write_text(f"# cameras\n3 OPENCV {WIDTH} {HEIGHT} {params}\n")
        lines = ["# images"]
        for i, (name, (quat, translation)) in enumerate(zip(self.names, self.poses(), strict=True)):
            numbers = " ".join(repr(float(v)) for v in (*quat, *translation))
            lines += [f"{i + 1} {numbers} 3 {name}", f"1.5 2.5 {100 + i} 3.5 4.5 -1"]
        (model / "images.txt").write_text("\n".join(lines) + "\n")
        lines = [
            f"{100 + i} {' '.join(repr(float(v)) for v in xyz)} {r} {g} {b} 0.5 {min(i, 8) + 1} 0"
            for i, (xyz, (r, g, b)) in enumerate(zip(self.xyz, self.rgb.tolist(), strict=True))
        ]
        (model / "points3D.txt").write_text("\n".join(lines) + "\n")
        return self.folder


@pytest.fixture
def tiny(tmp_path: Path) -> Tiny:
    turns = np.linspace(0, 2 * np.pi, N_IMAGES, endpoint=False)
    origins = np.stack([4 * np.cos(turns), 4 * np.sin(turns), 1 + 0.3 * np.sin(3 * turns)], axis=1)
    c2w = np.stack([look_at(o, np.zeros(3), np.array([0, 0, 1.0])) for o in origins])
    rng = np.random.default_rng(5)
    folder = tmp_path / "capture"
    folder.mkdir()
    names = tuple(f"view_{i:02d}.png" for i in range(N_IMAGES))
    return Tiny(folder, c2w, names, rng.normal(size=(11, 3)), rng.integers(0, 256, (11, 3), dtype=np.uint8))
