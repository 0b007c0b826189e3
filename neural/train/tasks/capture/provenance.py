"""The capture of a run: what a resume compares, how a stored run finds it again, how it is announced."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neural import runs
from neural.errors import CheckpointError
from neural.scenes.load import load
from neural.scenes.scene import Scene
from neural.train import session


def source_of(scene: Scene, folder: Path) -> str:
    """How a run names its capture: its path; where it lies inside, "." and the rest, so that both can be moved."""
    if scene.path is None:
        return scene.name
    path, run = scene.path.resolve(), folder.resolve()
    return f"./{path.relative_to(run).as_posix()}" if path.is_relative_to(run) else str(path)


def identity(task: str, scene: Scene, source: str) -> dict[str, Any]:
    """What a resume compares beside the configuration."""
    return {"task": task, "scene": source, "box": scene.aabb.tolist()}


def read_scene(folder: Path, identity: Mapping[str, Any], config: Any) -> Scene:
    """The capture that a stored run was trained on.

    Raises:
        CheckpointError: It is gone.
    """
    source = identity["scene"]
    if source.startswith("./"):
        source = str(folder / source)
    if not Path(source).exists():
        raise session.gone(folder, "scene", source)
    return load(
        source, downscale=config.run.downscale or 1, cache=folder / runs.CACHE, test_every=config.run.split_every
    )


def same_scene(folder: Path, identity: Mapping[str, Any], scene: Scene) -> None:
    """Refuses a capture whose box is not that of the run.

    Raises:
        CheckpointError: Another scene.
    """
    if scene.aabb.tolist() != identity.get("box"):
        raise CheckpointError(
            f"{folder}: {identity['scene']} is not the scene that was trained: its box is {scene.aabb.tolist()}, not "
            f"{identity.get('box')}; restore it, or pass load_run(..., scene=) if it was made or changed in Python"
        )


def headline(scene: Scene, config: Any, folder: Path) -> str:
    """What is trained on what, how long and where to."""
    images = f"{len(scene.splits['train'])} images for training, {len(scene.splits['test'])} held out"
    return session.headline(f"{scene.name}: {images}", config, folder)
