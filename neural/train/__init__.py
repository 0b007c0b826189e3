"""Training: a loop that knows no task, and the tasks in folders of their own.

Here: `loop` steps a task, keeps its checkpoints and its log; `session` has what comes before and after, `load` takes a
run up again; `trained` and `film` say what every trained thing can do. `tasks.<task>` holds what a training of one kind
of data is told (`config`), one step of it (`task`) and what is got from it (`run`); what photographs have in common is
in `tasks.capture`, what fields have in `tasks.field`. A task imports nothing of another.

`neural.train.splats(scene, ...)`, `neural.train.radiance(field, scene, ...)`, `neural.train.image(picture, ...)`,
`neural.train.sdf(mesh, ...)` and `neural.train.volume(voxels, ...)` are the calls for scripts; loaded at first use, so
that the torch-free configuration beside them stays cheap.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neural.train.tasks.image.run import image as image
    from neural.train.tasks.radiance.run import radiance as radiance
    from neural.train.tasks.sdf.run import sdf as sdf
    from neural.train.tasks.splats.run import splats as splats
    from neural.train.tasks.volume.run import volume as volume

# call -> module that defines it
_CALLS = {
    "image": "neural.train.tasks.image.run",
    "radiance": "neural.train.tasks.radiance.run",
    "sdf": "neural.train.tasks.sdf.run",
    "splats": "neural.train.tasks.splats.run",
    "volume": "neural.train.tasks.volume.run",
}


def __getattr__(name: str) -> Any:
    if name in _CALLS:
        return getattr(importlib.import_module(_CALLS[name]), name)
    raise AttributeError(f"module 'neural.train' has no attribute {name!r}")
