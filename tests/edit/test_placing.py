"""A transformed scene, seen by cameras that moved with it, is the same picture."""

import itertools

import numpy as np
import pytest
import torch

from neural.edit import similarity, transform
from neural.edit.placing import between, turn
from neural.gaussians.model import Gaussians
from neural.gaussians.order import rotations
from neural.scenes.files.gaussians import axes, formats
from neural.scenes.files.gaussians.record import SplatRecord
from tests.edit.pictures import cameras, moved, pictures, psnr, scene

SIMILARITY = similarity(scale=1.7, rotate=(1, -2, 0.5, 130), translate=(3, -1, 2), about=(0.2, 0.1, -0.3))


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_the_picture_stays_when_cameras_move_along(degree: int) -> None:
    before, views = scene(degree=degree), cameras()
    after = transform(before, SIMILARITY)
    same = psnr(pictures(before, views), pictures(after, moved(views, SIMILARITY), near=0.05 * 1.7))
    assert same > 60, same
    if degree:  # the colours do depend on the view: left as they were, they are seen to be wrong
        unturned = Gaussians(
            after.means, after.quats, after.log_scales, after.opacity_logits, after.sh0, before.shN.detach()
        )
        wrong = psnr(pictures(before, views), pictures(unturned, moved(views, SIMILARITY), near=0.05 * 1.7))
        assert wrong < 40, wrong


def test_a_real_scene_stays_the_same_picture(neural_data) -> None:
    before = Gaussians.from_record(formats.read(neural_data / "splats" / "playbot_lod3.ply"))
    matrix = similarity(scale=0.6, rotate=(0.3, 1, 0.2, 77), translate=(5, 0, -2))
    views = cameras(2, radius=2.2, size=256)
    same = psnr(pictures(before, views), pictures(transform(before, matrix), moved(views, matrix), near=0.03))
    assert same > 55, same


def test_steps_are_made_in_the_order_that_is_said() -> None:
    matrix = similarity(scale=2, rotate=(0, 0, 1, 90), translate=(10, 0, 0), about=(1, 0, 0), axes=("RDF", "RFU"))
    # axes: (x, y down, z forward) -> (x, z, -y) = (1, 3, -2); from (1, 0, 0): (0, 3, -2), turned (-3, 0, -2), doubled,
    # back and moved on.
    np.testing.assert_allclose(matrix @ [1, 2, 3, 1], [-6 + 1 + 10, 0, -4, 1], atol=1e-12)
    np.testing.assert_allclose(similarity(), np.eye(4))


def test_axes_agree_with_those_of_the_codecs() -> None:
    """For pairs that only turn signs, the exact flips of files are the same change, harmonics included."""
    record = scene(50).to_record()
    for source, target in itertools.permutations(("RDF", "RUB", "LUF", "LDB"), 2):
        flipped = axes.flipped(record, (source, target))
        matrix = similarity(axes=(source, target))
        turned = transform(Gaussians.from_record(record), matrix).to_record()
        np.testing.assert_allclose(turned.means, flipped.means, atol=1e-6)
        np.testing.assert_allclose(turned.shN, flipped.shN, atol=1e-5)
        np.testing.assert_allclose(_ellipsoids(turned), _ellipsoids(flipped), atol=1e-5)


def _ellipsoids(record: SplatRecord) -> np.ndarray:
    """Covariances: rotations may differ by half a turn about an axis of the ellipsoid."""
    axes = rotations(torch.from_numpy(record.quats)).numpy() * np.exp(record.log_scales)[:, None]
    return axes @ axes.transpose(0, 2, 1)


def test_names_of_axes_compose() -> None:
    names = ["".join(name) for kind in itertools.permutations(("RL", "UD", "FB")) for name in itertools.product(*kind)]
    assert len(names) == 48
    right_handed = [name for name in names if np.linalg.det(_try(name)) > 0]
    assert len(right_handed) == 24
    for a, b in itertools.product(right_handed[:8], right_handed):
        np.testing.assert_array_equal(between(b, a) @ between(a, b), np.eye(3))
    with pytest.raises(ValueError, match="mirrored"):
        between("RDF", "RUF")
    assert between("RUF", "LUB").tolist() == np.diag([-1.0, 1.0, -1.0]).tolist()  # both left-handed


def _try(name: str) -> np.ndarray:
    try:
        return between("RUB", name)
    except ValueError:
        return -np.eye(3)


def test_turns_go_counterclockwise() -> None:
    np.testing.assert_allclose(turn((0, 0, 5, 90)) @ [1, 0, 0], [0, 1, 0], atol=1e-15)
    np.testing.assert_allclose(turn((0, 1, 0, 90)) @ [0, 0, 1], [1, 0, 0], atol=1e-15)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: similarity(scale=0), "scale must be above 0"),
        (lambda: similarity(scale=-2), "mirrored"),
        (lambda: similarity(scale=float("inf")), "above 0"),
        (lambda: similarity(rotate=(0, 0, 0, 9)), "axis of some length"),
        (lambda: similarity(rotate=(0, 0, 1)), "axis of some length"),
        (lambda: similarity(translate=(1, 2)), "three finite numbers"),
        (lambda: similarity(translate=(1, 2, float("nan"))), "three finite numbers"),
        (lambda: similarity(axes=("RDF", "RDX")), "named by three letters.*'RDX'"),
        (lambda: similarity(axes=("RLF", "RDF")), "'RLF'"),
        (lambda: transform(scene(3), np.diag([1, 1, -1, 1.0])), "rotation times a uniform positive scale"),
        (lambda: transform(scene(3), np.diag([1, 1, 2, 1.0])), "rotation times a uniform positive scale"),
        (lambda: transform(scene(3), np.full((4, 4), np.nan)), "finite"),
        (lambda: transform(scene(3), np.eye(3)), "4 x 4"),
        (lambda: transform(scene(3), np.diag([1, 1, 1, 2.0])), "last row"),
    ],
)
def test_what_is_no_similarity_is_refused(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]


def test_the_input_stays() -> None:
    before = scene(20)
    copies = [parameter.detach().clone() for parameter in before.parameters()]
    transform(before, np.eye(4)).means.data.zero_()
    transform(before, SIMILARITY).shN.data.zero_()
    assert all(torch.equal(a, b) for a, b in zip(before.parameters(), copies, strict=True))
