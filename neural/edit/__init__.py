"""Trained Gaussians, edited: cropped, transformed, merged, cleaned of floaters, decimated.

Every call takes Gaussians and gives new ones; what it was given stays as it is, and so do files: nothing here writes
over an input. `read` and `write` are the ways in and out, of files and of runs, in the frame of the input.

Loaded at first use, so that the commands can say what they take without torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neural.edit.cleaning import Cleaned as Cleaned
    from neural.edit.cleaning import clean as clean
    from neural.edit.files import beside as beside
    from neural.edit.files import read as read
    from neural.edit.files import write as write
    from neural.edit.islands import Islands as Islands
    from neural.edit.joining import merge as merge
    from neural.edit.photographs import Contradicted as Contradicted
    from neural.edit.placing import similarity as similarity
    from neural.edit.placing import transform as transform
    from neural.edit.regions import Box as Box
    from neural.edit.regions import Polygon as Polygon
    from neural.edit.regions import Sphere as Sphere
    from neural.edit.regions import crop as crop
    from neural.edit.shapes import Faint as Faint
    from neural.edit.shapes import Large as Large
    from neural.edit.shapes import Needle as Needle
    from neural.edit.sparse import Sparse as Sparse
    from neural.edit.thinning import decimate as decimate
    from neural.edit.visibility import Unseen as Unseen

# public name -> module that defines it
_NAMES = {
    "read": "neural.edit.files",
    "write": "neural.edit.files",
    "beside": "neural.edit.files",
    "similarity": "neural.edit.placing",
    "transform": "neural.edit.placing",
    "merge": "neural.edit.joining",
    "decimate": "neural.edit.thinning",
    "clean": "neural.edit.cleaning",
    "Cleaned": "neural.edit.cleaning",
    "Box": "neural.edit.regions",
    "Sphere": "neural.edit.regions",
    "Polygon": "neural.edit.regions",
    "crop": "neural.edit.regions",
    "Faint": "neural.edit.shapes",
    "Large": "neural.edit.shapes",
    "Needle": "neural.edit.shapes",
    "Sparse": "neural.edit.sparse",
    "Islands": "neural.edit.islands",
    "Unseen": "neural.edit.visibility",
    "Contradicted": "neural.edit.photographs",
}


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    raise AttributeError(f"module 'neural.edit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(_NAMES)
