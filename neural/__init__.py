"""Neural graphics and 3D scene reconstruction.

Names are loaded on first use (PEP 562), so `import neural` costs nothing beyond this file.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# public name -> module that defines it
_NAMES = {
    "NeuralError": "neural.errors",
    "SceneFormatError": "neural.errors",
    "BackendUnavailable": "neural.errors",
    "CheckpointError": "neural.errors",
    "DivergenceError": "neural.errors",
}
# public submodules, reached as attributes
_MODULES: tuple[str, ...] = ()

if TYPE_CHECKING:
    from neural.errors import BackendUnavailable as BackendUnavailable
    from neural.errors import CheckpointError as CheckpointError
    from neural.errors import DivergenceError as DivergenceError
    from neural.errors import NeuralError as NeuralError
    from neural.errors import SceneFormatError as SceneFormatError


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    if name in _MODULES:
        return importlib.import_module(f"neural.{name}")
    raise AttributeError(f"module 'neural' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*_NAMES, *_MODULES, "__version__"])
