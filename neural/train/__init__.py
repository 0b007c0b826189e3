"""Training: one module per kind of scene, each with its loop, and the configuration they share.

`neural.train.splats(scene, ...)` and `neural.train.radiance(field, scene, ...)` are the calls for scripts; loaded
at first use, so that the torch-free configuration beside them stays cheap.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from neural.train.radiance_run import radiance as radiance
    from neural.train.splats_run import splats as splats
    from neural.train.volume_run import volume as volume


def __getattr__(name: str) -> Any:
    if name == "radiance":
        from neural.train.radiance_run import radiance

        return radiance
    if name == "splats":
        from neural.train.splats_run import splats

        return splats
    if name == "volume":
        from neural.train.volume_run import volume

        return volume
    raise AttributeError(f"module 'neural.train' has no attribute {name!r}")
