"""Training: one module per kind of scene, each with its loop, and the configuration they share.

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
