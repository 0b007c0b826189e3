"""The formats of Gaussian scenes by the endings of their files, and what is agreed on in each.

What a file holds, beside positions, rotations, scales, opacities and colours:

| ending | axes | harmonics | antialiased | 2DGS | metres, CRS, offset | other axes are |
|---|---|---|---|---|---|---|
| .ply | RDF | float32 | comment | comment, no scale_2 | comments | said in a comment |
| .compressed.ply | RDF | 8 bits | comment | comment | comments | said in a comment |
| .splat | RDF | none | no | no | no | not said |
| .spz | RUB | 5 and 4 bits | flag | no | no | said in version 4 |
| .sog, meta.json | RDF | a palette | `model` | `model` | `asset` | said in `asset` |
| .glb | LUF | float32 | `extras` | `extras` | `extras` | said in `extras` |
| .usdc, .usda | RUB | float32 | layer data | layer data | `metersPerUnit`, layer data | `upAxis`, said in layer data |
| lod-meta.json | RDF | palettes | `model` | `model` | `asset` | said in `asset` |

Records are RDF: `write` turns positions, rotations and harmonics to the axes of the file, `read` turns them back.
"""

import inspect
from pathlib import Path
from types import ModuleType
from typing import Any

from neural.errors import SceneFormatError
from neural.scenes.files import ply
from neural.scenes.files.gaussians import gltf, splat, usd
from neural.scenes.files.gaussians.axes import Axes
from neural.scenes.files.gaussians.ply import compressed_ply, plain_ply
from neural.scenes.files.gaussians.record import SplatRecord
from neural.scenes.files.gaussians.sog import sog, streamed_sog
from neural.scenes.files.gaussians.sog.files import META
from neural.scenes.files.gaussians.spz import spz

_BY_ENDING: dict[str, ModuleType] = {
    ".spz": spz,
    ".sog": sog,
    ".compressed.ply": compressed_ply,
    ".splat": splat,
    ".ply": plain_ply,
    ".glb": gltf,
    ".usdc": usd,
    ".usda": usd,
}
ENDINGS = tuple(_BY_ENDING)  # of files that are written
TILES = ".tiles.json"
LEVELS = streamed_sog.NAME
INDICES = (META, LEVELS, TILES)  # what names of files end in that hold no Gaussians themselves
_MOST_META = 1 << 20  # bytes
_PLACELESS = (".splat", ".spz")  # which cannot say where they lie
_GAUSSIANS = {"f_dc_0", "rot_0", "scale_0", "packed_position"}  # one of these properties makes a .ply a Gaussian scene


def read(path: Path, *, axes: Axes | None = None) -> SplatRecord:
    """A Gaussian scene of any format, by the ending of its name; which kind of `.ply` it is, its header says.

    Args:
        path: The file.
        axes: Its own, for files whose writer did not keep to the format's; see `axes.NAMES`.

    Returns:
        The scene in RDF axes.

    Raises:
        SceneFormatError: Another ending, a `.ply` of something else, or damaged.
        BackendUnavailable: A format that needs a package which is not installed.
    """
    if path.name.lower() == META:
        return sog.read(path, axes=axes)
    if path.name.lower() == LEVELS:
        return streamed_sog.read(path, axes=axes)
    if path.name.lower().endswith(TILES):
        from neural.scenes.files.gaussians import tiles  # which reads its tiles by this function

        return tiles.read(path, axes=axes)
    if path.suffix.lower() == ".ply":
        packed = "packed_position" in _properties(path)
        return (compressed_ply if packed else plain_ply).read(path, axes=axes)
    return module(path).read(path, axes=axes)


def write(path: Path, record: SplatRecord, *, axes: Axes | None = None, **options: Any) -> None:
    """Write a Gaussian scene in the format that the ending of the name says, to a temporary name first.

    Args:
        path: The file.
        record: In RDF axes.
        axes: Of the file; the format's own without them.
        options: What the format's own `write` takes beside, such as `sh_bits` of a `.spz`.

    Raises:
        SceneFormatError: Another ending.
        ValueError: What the format cannot hold, or an option that it does not know.
    """
    chosen = module(path)
    known = [name for name in inspect.signature(chosen.write).parameters if name not in ("path", "record")]
    for name in options:
        if name not in known:
            raise ValueError(f"{path}: {name} means nothing for this format, which takes {', '.join(known)}")
    chosen.write(path, record, axes=axes or chosen.AXES, **options)


def module(path: Path) -> ModuleType:
    """The format's own `read`, `write` and `AXES`.

    Raises:
        SceneFormatError: Another ending.
    """
    if path.name.lower() == META:
        return sog
    ending = _ending(path)
    if ending is None:
        raise SceneFormatError(path, f"must end in {', '.join(ENDINGS)} to be a Gaussian scene")
    return _BY_ENDING[ending]


def axes(path: Path) -> Axes:
    """Those that the format has by convention.

    Raises:
        SceneFormatError: Another ending.
    """
    return streamed_sog.AXES if path.name.lower() == LEVELS else module(path).AXES


def is_writable(path: Path) -> bool:
    """Whether the name ends in one of `ENDINGS`, or is that of the index of a SOG folder or of a streamed SOG."""
    return path.name.lower() in (META, LEVELS) or _ending(path) is not None


def holds_placement(path: Path) -> bool:
    """Whether such a file can say its `Placement`."""
    return _ending(path) not in _PLACELESS


def axes_for(path: Path, own: Axes) -> Axes:
    """Those that a scene is written in whose coordinates are known in its `own`: these, where RDF is a habit of the
    format and the file can say others, and the format's else.

    Raises:
        SceneFormatError: Another ending.
    """
    usual = axes(path)
    return own if usual == "RDF" and holds_placement(path) else usual


def holds_gaussians(path: Path) -> bool:
    """Whether a file says that it is a Gaussian scene: by its ending, a `.ply` by its properties.

    Raises:
        SceneFormatError: A `.ply` whose header cannot be read.
    """
    if path.suffix.lower() == ".ply":
        return bool(_GAUSSIANS & _properties(path))
    name = path.name.lower()
    return name in (META, LEVELS) or name.endswith(TILES) or _ending(path) is not None


def index_in(folder: Path) -> Path | None:
    """The file by which a folder of Gaussians is read: of a streamed SOG, or of a SOG; None of any other folder."""
    if (folder / LEVELS).is_file():
        return folder / LEVELS
    path = folder / META
    if not path.is_file():
        return None
    with open(path, "rb") as file:  # others have files of that name, too
        return path if b'"means"' in file.read(_MOST_META) else None


def _properties(path: Path) -> set[str]:
    return set(ply.read_layout(path).get("vertex", (0, ()))[1])


def _ending(path: Path) -> str | None:
    """The first in the table, so that `.compressed.ply` is not a `.ply`."""
    return next((ending for ending in _BY_ENDING if path.name.lower().endswith(ending)), None)
