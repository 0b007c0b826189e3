"""A large ball painted finely and a small one before it, seen exactly; and what a mesh of them shows."""

from pathlib import Path

import numpy as np
import torch

from neural.cameras import Cameras
from neural.poses import look_at
from neural.rays import image_rays
from neural.render.rendering import Rendering

AT = np.array([4_000.0, -300.0, 20.0])  # where the middle of the large one is
BALLS = ((np.zeros(3), 0.8), (np.array([1.15, 0.1, 0.0]), 0.2))
BOX = torch.from_numpy(np.stack([AT - 1.5, AT + 1.5]))


def cameras(n: int = 16, *, size: int = 128, start: float = 0.0) -> Cameras:
    """Around both, at heights that differ."""
    turns = start + np.arange(n) * 2.399963
    heights = (np.arange(n) + 0.5) / n * 1.8 - 0.9
    wide = np.sqrt(1 - heights**2)
    return looking(np.stack([np.cos(turns) * wide, heights, np.sin(turns) * wide], axis=1), size)


def looking(directions: np.ndarray, size: int = 128) -> Cameras:
    """Towards the middle of the large ball from directions of length 1."""
    n, eyes = len(directions), 3.2 * directions
    poses = np.stack([look_at(AT + eye, AT, np.array([0.1, -1.0, 0.05])) for eye in eyes])
    lens = torch.tensor([[size * 1.3, size * 1.3, size / 2, size / 2]], dtype=torch.float64).repeat(n, 1)
    return Cameras.pinhole(torch.from_numpy(poses), lens, torch.tensor([[size, size]] * n))


def colors(places: np.ndarray) -> np.ndarray:
    """0 to 1: bands as fine as a few pixels of a camera on the large ball, red on the small one."""
    waves = np.sin(places @ np.array([[17.0, 0, 9], [0, 19, -8], [5, 8, 15]]).T)
    small = np.linalg.norm(places - BALLS[1][0], axis=-1, keepdims=True) < BALLS[1][1] * 1.2
    return np.where(small, [1.0, 0.0, 0.0], 0.5 + 0.4 * waves)


def render(cameras: Cameras, index: int) -> Rendering:
    """The first of the balls along each ray, on white."""
    rays = image_rays(cameras.relative_to(torch.from_numpy(AT)), index)
    origins, directions = rays.origins.double().numpy(), rays.directions.double().numpy()
    distance = np.full(len(origins), np.inf)
    for middle, radius in BALLS:
        away = origins - middle
        b = (away * directions).sum(1)
        inside = b**2 - (away**2).sum(1) + radius**2
        distance = np.where(inside > 0, np.minimum(distance, -b - np.sqrt(np.maximum(inside, 0))), distance)
    hit = np.isfinite(distance)
    distance = np.where(hit, distance, 0)
    rgb = np.where(hit[:, None], colors(origins + distance[:, None] * directions), 1)
    return Rendering(*(torch.from_numpy(part.astype(np.float32)) for part in (rgb, hit, distance)))


def seen_by(cameras: Cameras, index: int, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """A .ply in a camera by its corners' colours, a .glb by its texture, as trimesh reads them; sRGB, and how far."""
    import open3d
    import trimesh

    read = trimesh.load(path, force="mesh", process=False)
    scene = open3d.t.geometry.RaycastingScene()
    scene.add_triangles(
        open3d.core.Tensor((read.vertices - AT).astype(np.float32)), open3d.core.Tensor(read.faces.astype(np.uint32))
    )
    rays = image_rays(cameras.relative_to(torch.from_numpy(AT)), index)
    hit = scene.cast_rays(open3d.core.Tensor(torch.cat([rays.origins, rays.directions], dim=1).numpy()))
    there = np.isfinite(hit["t_hit"].numpy())
    corners = read.faces[hit["primitive_ids"].numpy()[there]]
    u, v = hit["primitive_uvs"].numpy()[there].T
    weights = np.stack([1 - u - v, u, v], axis=1)
    if read.visual.kind == "texture":
        picture = np.asarray(read.visual.material.baseColorTexture.convert("RGB")).astype(float)
        at = np.einsum("nk,nkc->nc", weights, read.visual.uv[corners]) * [1, -1] + [0, 1]
        found = _bilinear(picture, at * len(picture) - 0.5)
    else:
        found = np.einsum("nk,nkc->nc", weights, read.visual.vertex_colors[corners][..., :3].astype(float))
    rgb = np.zeros((len(there), 3))
    rgb[there] = found
    return rgb, hit["t_hit"].numpy()


def _bilinear(picture: np.ndarray, at: np.ndarray) -> np.ndarray:
    first = np.floor(at).astype(int)
    x, y = (at - first).T[..., None]
    a, b, c, d = (
        picture[(first[:, 1] + down).clip(0, len(picture) - 1), (first[:, 0] + right).clip(0, len(picture) - 1)]
        for down in (0, 1)
        for right in (0, 1)
    )
    return (a * (1 - x) + b * x) * (1 - y) + (c * (1 - x) + d * x) * y


def ragged(vertices: np.ndarray, faces: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """With fins that point inwards on every tenth triangle, holes, a triangle twice and one turned over."""
    chance = np.random.default_rng(seed)
    faces = faces[chance.random(len(faces)) > 0.02]
    on = faces[chance.random(len(faces)) < 0.1]
    middle = vertices[on].mean(1)
    tips = middle + 0.05 * (AT - middle) / np.linalg.norm(AT - middle, axis=1, keepdims=True)
    fins = np.stack([on[:, 1], on[:, 0], len(vertices) + np.arange(len(on))], axis=1)
    return np.concatenate([vertices, tips]), np.concatenate([faces, fins, faces[:1], faces[1:2, ::-1]])
