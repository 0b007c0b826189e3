"""What subjects that were trained on photographs have in common."""

from neural.scenes.scene import Scene
from neural.viewer.live.frame import ViewerFrame
from neural.viewer.live.pictures.photographs import Photographs

_MODES = ("colour", "depth", "normal", "alpha")


def truth_of(scene: Scene, frame: ViewerFrame, background: str) -> Photographs | None:
    """The photographs of a scene, on white or black where they are transparent."""
    return None if scene.images is None else Photographs(scene, frame.unit, background)


def modes_of(truth: object, *, clusters: bool = False) -> tuple[str, ...]:
    """Ways of looking at something in space, with and without photographs to compare with."""
    compared = () if truth is None else ("photograph", "error")
    return (*_MODES, *(("clusters",) if clusters else ()), *compared)
