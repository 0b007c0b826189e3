"""A wall right behind a camera, seen from across the room: criteria that look through cameras leave it alone."""

from pathlib import Path

import numpy as np
import pytest
import torch

import neural
from neural import cli, edit
from neural.cameras import Cameras
from neural.edit import Contradicted, Unseen, clean, merge
from neural.edit.visibility import look
from neural.gaussians.model import Gaussians
from neural.poses import look_at
from neural.scenes.capture import Points
from neural.scenes.images import ImageStack
from neural.scenes.near import Near
from neural.scenes.scene import Scene
from tests.edit.pictures import pictures

SIZE, DEPTH = 64, 4.0
PLAIN = Near.everywhere(0.02)  # a hundredth of the cameras' spread: how it was drawn before


def wall(z: float, thick: float, seed: int) -> Gaussians:
    """Opaque dots of many colours, 5 x 5 units; the z of their means is spread evenly over `thick`."""
    generator = torch.Generator().manual_seed(seed)
    side = torch.linspace(-2.5, 2.5, 26)
    x, y = (part.flatten() for part in torch.meshgrid(side, side, indexing="ij"))
    n = len(x)
    means = torch.stack([x, y, z + thick * (torch.rand(n, generator=generator) - 0.5)], 1)
    return Gaussians(
        means, torch.tensor([[1.0, 0, 0, 0]]).repeat(n, 1), torch.full((n, 3), np.log(0.15).item()),
        torch.full((n,), 3.0), torch.randn(n, 3, generator=generator), torch.zeros(n, 0, 3),
    )  # fmt: skip


BACK, FRONT = wall(-0.05, 0.3, 0), wall(DEPTH, 0.02, 1)  # the first as thick as photographs from afar leave it


@pytest.fixture(scope="module")
def room() -> Scene:
    """A camera with its back to one wall, and four that see this wall from before the other."""
    places = [(0.0, 0.0, 0.0), *((x, y, 3.0) for x in (-0.6, 0.6) for y in (-0.6, 0.6))]
    c2w = np.stack([look_at(np.array(p), np.array([p[0], p[1], 1.5]), np.array([0.0, -1, 0])) for p in places])
    lens = torch.tensor([SIZE, SIZE, SIZE / 2, SIZE / 2], dtype=torch.float64)
    cameras = Cameras.pinhole(torch.from_numpy(c2w), lens.repeat(5, 1), torch.full((5, 2), SIZE))
    shown = pictures(merge([BACK, FRONT]), cameras, near=0.5, grey=0.0).clamp(0, 1).mul(255).round().to(torch.uint8)
    xyz = torch.cat([BACK.means, FRONT.means]).detach().double().numpy()
    xyz[: BACK.n, 2] = -0.05
    return Scene(
        name="room", path=None, cameras=cameras, masks=None, image_names=tuple("abcde"),
        images=ImageStack.from_arrays([p.numpy().reshape(SIZE, SIZE, 3) for p in shown]),
        splits={"train": tuple(range(5)), "test": ()}, points=Points(xyz, np.zeros(xyz.shape, np.uint8)),
        aabb=torch.tensor([[-3.0, -3, -1], [3, 3, 5]], dtype=torch.float64), world_to_scene=np.eye(4),
    )  # fmt: skip


def floater() -> Gaussians:
    """White, half way across."""
    return Gaussians(
        torch.tensor([[0.3, 0.2, 2.0]]), torch.tensor([[1.0, 0, 0, 0]]), torch.full((1, 3), -2.0), torch.tensor([3.0]),
        torch.full((1, 3), 2.0), torch.zeros(1, 0, 3),
    )  # fmt: skip


def test_photographs_do_not_contradict_it(room: Scene) -> None:
    whole = merge([BACK, FRONT])
    before = Contradicted(room, near=PLAIN).find(whole).rows
    assert before.any(), "else nothing here is at stake"
    assert before[: BACK.n].sum() == before.sum()
    assert clean(whole, [Contradicted(room)]).gaussians.n == whole.n
    found = Contradicted(room).find(merge([whole, floater()])).rows
    assert found[-1], "what floats between the walls still goes"
    assert not found[: BACK.n].any()


def test_it_does_not_hide_what_its_photographer_sees(room: Scene) -> None:
    whole, near = merge([BACK, FRONT]), Near.of(room)
    shown = look(FRONT, room.cameras, near=near).views > 0
    assert (Unseen(room.cameras).find(whole).rows[BACK.n :] & shown).sum() > 100, "else nothing here is at stake"
    assert torch.equal(~Unseen(room.cameras, near=near).find(whole).rows[BACK.n :], shown)


def test_the_command_takes_the_clear_space_of_the_training(room: Scene, tmp_path: Path, monkeypatch) -> None:
    whole = merge([BACK, FRONT])
    edit.write(whole, tmp_path / "room.ply")
    monkeypatch.setattr(neural, "load", lambda path: room, raising=False)
    arguments = ["edit", "clean", str(tmp_path / "room.ply"), str(tmp_path / "out.ply"), "--overwrite"]
    arguments += ["--capture", str(tmp_path), "--by"]
    for criterion in (Contradicted, Unseen):
        for share in (None, 0.1, 0.0):
            given = [] if share is None else ["--clear", str(share)]
            assert cli.main([*arguments, criterion.name, *given]) == 0
            near = Near.of(room) if share is None else Near.of(room, share)
            left = clean(whole, [criterion(room if criterion is Contradicted else room.cameras, near=near)])
            assert edit.read(tmp_path / "out.ply").n == left.gaussians.n, (criterion.name, share)
    assert cli.main([*arguments, "unseen", "--clear", "2"]) == 2
