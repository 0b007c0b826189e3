"""Training: one module per kind of scene, each with its loop, and the configuration they share.

`neural.train.radiance(field, scene, ...)` is the call for scripts; it is loaded at first use, so that the torch-free
configuration beside it stays cheap.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neural.train.radiance_run import radiance as radiance


def __getattr__(name: str) -> Any:
    if name == "radiance":
        from neural.train.radiance_run import radiance

        return radiance
    raise AttributeError(f"module 'neural.train' has no attribute {name!r}")
