"""What trainings on photographs do beside the session's steps: read the capture again, refuse what shows nothing."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from neural import runs
from neural.errors import CheckpointError, SceneFormatError
from neural.scenes.load import load
from neural.scenes.scene import Scene
from neural.train import session


def identity(task: str, scene: Scene, source: str) -> dict[str, Any]:
    """What a resume compares beside the configuration."""
    return {"task": task, "scene": source, "box": scene.aabb.tolist()}


def check(scene: Scene) -> None:
    """Reads all pixels, and refuses a scene that has none to train on.

    Raises:
        SceneFormatError: Names the photograph or the split at fault.
    """
    decode(scene)
    refuse_nothing(scene)


def read_scene(folder: Path, identity: Mapping[str, Any], config: Any) -> Scene:
    """The capture that a stored run was trained on.

    Raises:
        CheckpointError: It is gone.
    """
    source = identity["scene"]
    if not Path(source).exists():
        raise CheckpointError(
            f"{folder}: the scene that it was trained on, {source}, is not there; put it back, or pass "
            "load_run(..., scene=) if it was made in Python"
        )
    return load(source, downscale=config.run.downscale, cache=folder / runs.CACHE, test_every=config.run.split_every)


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


def decode(scene: Scene) -> None:
    """Reads all pixels, so that a broken photograph is found before a run begins.

    Raises:
        SceneFormatError: Names the photograph, or the scene that has none to train on.
    """
    if scene.images is None or not scene.splits["train"]:
        raise SceneFormatError(
            scene.path or scene.name, "no images to train on; check the scene's images and its train split"
        )
    for stack in (scene.images, scene.masks):
        if stack is not None:
            _ = stack.flat


def refuse_nothing(scene: Scene) -> None:
    """Raises where photographs hold nothing: every pixel of a split is masked out, or every training one transparent.

    Raises:
        SceneFormatError: Names the split.
    """
    source = scene.path or scene.name
    for split in ("train", "test"):
        members = scene.splits[split]
        if scene.masks is not None and members and not any((scene.masks[i] >= 128).any() for i in members):
            raise SceneFormatError(
                source, f"the masks leave no pixel of the {split} images; white pixels are those that count"
            )
    images = scene.images
    if images is not None and images.channels == 4 and not any(images[i][..., 3].any() for i in scene.splits["train"]):
        raise SceneFormatError(source, "the train images are fully transparent; there is nothing to learn")


def headline(scene: Scene, config: Any, folder: Path) -> str:
    """What is trained on what, how long and where to."""
    images = f"{len(scene.splits['train'])} images for training, {len(scene.splits['test'])} held out"
    return session.headline(f"{scene.name}: {images}", config, folder)
