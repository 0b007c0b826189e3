"""The real sets as captures that readers know; cameras that come in a file of their own are written out first."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

from neural.poses import quat_from_rotation


def castle(data: Path, folder: Path) -> Path:
    """castle_P30 with its surveyed cameras, as a COLMAP model in text."""
    source = data / "castle_P30"
    frames = json.loads((source / "gt_cameras.json").read_text())["frames"]
    model = folder / "sparse" / "0"
    model.mkdir(parents=True)
    (folder / "images").symlink_to(source / "images")
    images, cameras = [], []
    for i, frame in enumerate(frames):
        K, w2c = np.array(frame["K"]), np.array(frame["w2c"])
        cameras.append(f"{i + 1} PINHOLE 1024 683 {K[0, 0]} {K[1, 1]} {K[0, 2]} {K[1, 2]}")
        numbers = " ".join(repr(float(v)) for v in (*quat_from_rotation(w2c[:3, :3]), *w2c[:3, 3]))
        images += [f"{i + 1} {numbers} {i + 1} {Path(frame['file']).name}", ""]
    (model / "cameras.txt").write_text("\n".join(cameras) + "\n")
    (model / "images.txt").write_text("\n".join(images) + "\n")
    (model / "points3D.txt").write_text("")
    return folder


def dtu(data: Path, folder: Path) -> Path:
    """dtu_scan24 with its archive scaled to the images there: u becomes (u + 1/2) / 2 - 1/2."""
    source = data / "dtu_scan24"
    half = np.array([[0.5, 0, -0.25, 0], [0, 0.5, -0.25, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    with np.load(source / "cameras_sphere_fullres.npz") as archive:
        arrays = {k: half @ archive[k] if k.startswith("world_mat_") else archive[k] for k in archive if "inv" not in k}
    np.savez(folder / "cameras_sphere.npz", **arrays)
    (folder / "image").symlink_to(source / "images")
    (folder / "mask").symlink_to(source / "masks")
    return folder


WRITTEN: dict[str, Callable[[Path, Path], Path]] = {"castle_P30": castle, "dtu_scan24": dtu}


def place(name: str, data: Path, folder: Path) -> Path:
    """The path to load a real set by."""
    return WRITTEN[name](data, folder) if name in WRITTEN else data / name
