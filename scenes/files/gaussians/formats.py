"""The formats of Gaussian scenes by the endings of their files."""

from pathlib import Path
from types import ModuleType

from neural.errors import SceneFormatError
from neural.scenes.files import ply
from neural.scenes.files.gaussians import compressed_ply, plain_ply, sog, splat, spz
from neural.scenes.files.gaussians.record import SplatRecord
from neural.scenes.files.gaussians.sog_files import META

_BY_ENDING: dict[str, ModuleType] = {
    ".spz": spz,
    ".sog": sog,
    ".compressed.ply": compressed_ply,
    ".splat": splat,
    ".ply": plain_ply,
}
ENDINGS = tuple(_BY_ENDING)  # of files that are written
_GAUSSIANS = {"f_dc_0", "rot_0", "scale_0", "packed_position"}  # one of these properties makes a .ply a Gaussian scene


def read(path: Path) -> SplatRecord:
    """A Gaussian scene of any format, by the ending of its name; which kind of `.ply` it is, its header says.

    Raises:
        SceneFormatError: Another ending, a `.ply` of something else, or damaged.
        BackendUnavailable: A format that needs a package which is not installed.
    """
    if path.name.lower() == META:
        return sog.read(path)
    if path.suffix.lower() == ".ply":
        packed = "packed_position" in _properties(path)
        return (compressed_ply if packed else plain_ply).read(path)
    return _module(path).read(path)


def write(path: Path, record: SplatRecord) -> None:
    """Write a Gaussian scene in the format that the ending of the name says, to a temporary name first.

    Raises:
        SceneFormatError: Another ending.
        ValueError: What the format cannot hold.
    """
    _module(path).write(path, record)


def holds_gaussians(path: Path) -> bool:
    """Whether a file says that it is a Gaussian scene: by its ending, a `.ply` by its properties.

    Raises:
        SceneFormatError: A `.ply` whose header cannot be read.
    """
    if path.suffix.lower() == ".ply":
        return bool(_GAUSSIANS & _properties(path))
    return path.name.lower() == META or _ending(path) is not None


def _properties(path: Path) -> set[str]:
    return set(ply.read_layout(path).get("vertex", (0, ()))[1])


def _module(path: Path) -> ModuleType:
    ending = _ending(path)
    if ending is None:
        raise SceneFormatError(path, f"must end in {', '.join(ENDINGS)} to be a Gaussian scene")
    return _BY_ENDING[ending]


def _ending(path: Path) -> str | None:
    """The first in the table, so that `.compressed.ply` is not a `.ply`."""
    return next((ending for ending in _BY_ENDING if path.name.lower().endswith(ending)), None)
