"""A finished or interrupted run of any task, taken up again."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from neural import runs
from neural.errors import CheckpointError
from neural.scenes.scene import Scene

if TYPE_CHECKING:
    from neural.fields.radiance import RadianceField


def load_run(
    folder: str | Path,
    *,
    device: Literal["auto", "cpu", "cuda"] = "auto",
    field: "RadianceField | None" = None,
    scene: Scene | None = None,
) -> Any:
    """Takes up a trained run: a `RadianceRun` or a `SplatRun`.

    Args:
        folder: What `--out` named.
        device: Where to render.
        field: For a radiance run that was trained on a field of your own: the same field; its values are replaced.
        scene: For a run that was trained on a scene made or changed in Python: the same scene.

    Raises:
        CheckpointError: No run, no checkpoint, or one that does not fit; the scene is gone or another one.
        SceneFormatError: The scene cannot be read any more.
    """
    folder = Path(folder)
    task = runs.read_config(folder).get("task")
    if task == "radiance":
        from neural.train.radiance_run import load_radiance

        return load_radiance(folder, device=device, field=field, scene=scene)
    if task == "splats":
        from neural.train.splats_run import load_splats

        return load_splats(folder, device=device, scene=scene)
    raise CheckpointError(f"{folder}: a run of an unknown task ({task!r}); was it trained by a newer version?")
