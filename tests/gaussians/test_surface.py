"""Places on a mesh: evenly by area, on the faces, with their colours and normals."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neural.gaussians.model import Gaussians
from neural.gaussians.order import rotations
from neural.gaussians.surface import sample, turned_to
from neural.scenes.files.mesh import Mesh, areas


def _soup(n: int, seed: int) -> Mesh:
    """Triangles of very different sizes, some of them without area, that share no corner."""
    rng = np.random.default_rng(seed)
    sizes = 10.0 ** rng.uniform(-2, 1, size=(n, 1, 1))
    corners = rng.normal(size=(n, 1, 3)) * 5 + sizes * rng.normal(size=(n, 3, 3))
    corners[1::7, 2] = corners[1::7, 1]
    rgb = np.repeat(rng.integers(0, 256, (n, 3)), 3, axis=0).astype(np.uint8)
    return Mesh(corners.reshape(-1, 3), rgb, np.arange(3 * n).reshape(-1, 3))


@settings(max_examples=20)
@given(n=st.integers(1, 30), count=st.integers(1, 200), seed=st.integers(0, 10_000))
def test_every_face_has_its_share_and_its_colour(n: int, count: int, seed: int) -> None:
    mesh = _soup(n, seed)
    found = sample(mesh, count, torch.Generator().manual_seed(seed))
    assert len(found.points) == len(found.normals) == len(found.rgb) == count
    share = areas(mesh.vertices, mesh.faces)
    expected = share / share.sum() * count
    counts = np.zeros(n)
    for point, normal, rgb in zip(found.points.numpy(), found.normals.numpy(), found.rgb.numpy(), strict=True):
        a, b, c = mesh.vertices.reshape(-1, 3, 3).transpose(1, 0, 2)
        outward = np.cross(b - a, c - a)
        parts = [np.einsum("nc,nc->n", np.cross(v - u, point - u), outward) for u, v in ((a, b), (b, c), (c, a))]
        inside = np.stack(parts).min(0) >= -1e-6 * np.square(outward).sum(1)
        off = np.abs(np.einsum("nc,nc->n", point - a, outward))
        on = inside & (off <= 1e-8 * (1 + np.linalg.norm(outward, axis=1))) & (share > 0)
        on &= (mesh.rgb[::3] == rgb).all(1)
        assert on.any()
        counts[np.flatnonzero(on)[0]] += 1
        unit = outward[on][0] / np.linalg.norm(outward[on][0])
        np.testing.assert_allclose(normal, unit, atol=1e-9)
    assert np.abs(counts - expected).max() < 2


def test_the_same_seed_gives_the_same_places() -> None:
    mesh = _soup(20, 1)
    one, same, other = (sample(mesh, 100, torch.Generator().manual_seed(seed)) for seed in (4, 4, 5))
    assert torch.equal(one.points, same.points)
    assert not torch.equal(one.points, other.points)


def test_colours_between_corners_are_mixed() -> None:
    corners = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0]])
    mesh = Mesh(corners, np.array([[0, 0, 0], [255, 0, 0], [0, 255, 0]], np.uint8), np.array([[0, 1, 2]]))
    found = sample(mesh, 200, torch.Generator().manual_seed(0))
    np.testing.assert_allclose(found.rgb.numpy()[:, :2], found.points.numpy()[:, :2] * 255, atol=0.51)


def test_the_short_axis_is_the_normal() -> None:
    generator = torch.Generator().manual_seed(2)
    normals = torch.nn.functional.normalize(torch.randn(500, 3, generator=generator, dtype=torch.float64), dim=1)
    normals = torch.cat([normals, torch.eye(3).double(), -torch.eye(3).double()])
    points = torch.randn(len(normals), 3, generator=generator)
    made = Gaussians.from_points(points, torch.full((len(points), 3), 0.5), normals=normals)
    turned = rotations(made.quats.detach()).double()
    assert float((turned[:, :, 2] * normals).sum(1).abs().min()) > 1 - 1e-6
    torch.testing.assert_close(turned_to(normals).norm(dim=1), torch.ones(len(normals), dtype=torch.float64))
    scales = made.log_scales.detach().exp()
    torch.testing.assert_close(scales[:, 2], scales[:, 0] / 10)
    round_ones = Gaussians.from_points(points, torch.full((len(points), 3), 0.5))
    assert torch.equal(made.log_scales[:, :2], round_ones.log_scales[:, :2])


def test_a_mesh_far_from_the_origin_keeps_its_digits() -> None:
    mesh = _soup(5, 3)
    away = Mesh(mesh.vertices + 1e6, mesh.rgb, mesh.faces)
    near, far = (sample(m, 50, torch.Generator().manual_seed(0)).points for m in (mesh, away))
    assert float((far - near - 1e6).abs().max()) == pytest.approx(0, abs=1e-8)
