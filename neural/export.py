"""Scene files for other programs, in the frame of the files that the scene came from."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from neural.errors import NotSaved
from neural.gaussians.decimate import decimated
from neural.gaussians.model import Gaussians
from neural.gaussians.similarity import transformed
from neural.scenes.files.gaussians import axes as frames
from neural.scenes.files.gaussians import formats, tiles
from neural.scenes.files.gaussians.record import SH_C0, Placement, SplatRecord
from neural.scenes.files.gaussians.sog import leftovers, streamed_sog

SUFFIXES = (*formats.ENDINGS, formats.META, formats.LEVELS)
COARSEST = 20_000  # Gaussians of the last level of detail: what a viewer shows first
FRAMES = "input, scene or three letters such as RDF, RUB or RFU"


def export(
    gaussians: Gaussians,
    path: str | Path,
    *,
    frame: str = "input",
    axes: str | None = None,
    tile: float | None = None,
    origin: Float[Tensor, "3"] | None = None,
    world_to_scene: Float64[np.ndarray, "4 4"] | None = None,
    metres_per_unit: float | None = None,
    crs: str | None = None,
    input_axes: str = "RDF",
    colors: Float[Tensor, "3 4"] | None = None,
    **options: Any,
) -> Path:
    """Writes Gaussians as a file for other programs.

    Positions, rotations and harmonics are turned together: the scene in the file looks as the one in memory. Where the
    frame's coordinates are too large for single precision (metres of UTM), a whole number of units is taken off, which
    the file says as its `offset`.

    Args:
        gaussians: What is written.
        path: Its ending decides the format; see `neural.scenes.files.gaussians.formats` for what each can hold.
        frame: "input": coordinates of the files that the scene came from. "scene": those of the training. Three letters
            (directions of x, y and z: right or left, up or down, forward or back): those of the input in these axes.
        axes: Of the file, by the same letters, in place of those that the format has by convention. Those that
            are RDF by habit alone (.ply, .sog) keep the axes of the frame, and the file says them.
        tile: Side of cubes, units of the file: writes a file for each that is not empty, about an origin of its own,
            and gives the index of them, a `.json`. For scenes larger than a file can be.
        origin: Added to the means first: Gaussians are trained relative to a point of the scene.
        world_to_scene: Of the scene: what takes the input's frame to it.
        metres_per_unit: Length of the scene's unit, where known.
        crs: Coordinate reference system of the input, where known.
        input_axes: Of the input, by the same letters.
        colors: Affine map of colours to bake in: the learnt exposure of a photograph.
        options: What the format takes beside: of a `.spz` `version` and `sh_bits`.

    Returns:
        The file, or the index of the tiles.

    Raises:
        ValueError: Another ending, frame or option, what the format cannot hold, or a Gaussian that is not finite.
        NotSaved: The disk refuses.
    """
    path = Path(path)
    if not formats.is_writable(path):
        raise ValueError(f"export: {path} must end in {', '.join(SUFFIXES)}")
    if frame not in ("input", "scene"):
        if frame not in frames.NAMES or axes is not None:
            other = (
                "frame already names the axes, so axes must be left out" if axes is not None else "got " + repr(frame)
            )
            raise ValueError(f"export: frame must be {FRAMES}; {other}")
        axes = frame
    for name in (axes or "RDF", input_axes):
        frames.change(("RDF", name))  # refuses a name that is none before anything is done
    record = recorded(
        gaussians, frame=frame, origin=origin, world_to_scene=world_to_scene, metres_per_unit=metres_per_unit, crs=crs,
        colors=colors,
    )  # fmt: skip
    axes = axes or formats.axes_for(path, input_axes)
    return write_record(path, frames.flipped(record, (input_axes, "RDF")), axes=axes, tile=tile, **options)


def recorded(
    gaussians: Gaussians,
    *,
    frame: str = "input",
    origin: Float[Tensor, "3"] | None = None,
    world_to_scene: Float64[np.ndarray, "4 4"] | None = None,
    metres_per_unit: float | None = None,
    crs: str | None = None,
    colors: Float[Tensor, "3 4"] | None = None,
) -> SplatRecord:
    """What `export` writes, in the axes of the input; arguments as there.

    Raises:
        ValueError: A Gaussian that is not finite.
    """
    to_scene = np.eye(4) if world_to_scene is None or frame == "scene" else np.asarray(world_to_scene, np.float64)
    scale = float(np.cbrt(np.linalg.det(to_scene[:3, :3])))
    back = np.linalg.inv(to_scene)
    offset = _offset(gaussians, back, origin)
    back[:3, 3] -= offset
    moved = transformed(gaussians, back, origin)
    if colors is not None:
        recolor(moved, colors)
    place = Placement(
        None if metres_per_unit is None else metres_per_unit * scale, None if frame == "scene" else crs,
        tuple(offset.tolist()),
    )  # fmt: skip
    return replace(moved.to_record(), placement=place)


def write_record(
    path: Path, record: SplatRecord, *, axes: str | None = None, tile: float | None = None, **options: Any
) -> Path:
    """Writes a file, tiles or levels of detail; arguments and errors as of `export`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if tile is not None:
            return tiles.write(path, record, tile, axes=axes, **options)
        if path.name.lower() == formats.LEVELS:
            streamed_sog.write(path, levels(record), axes=axes or streamed_sog.AXES, **options)
            return path
        _refuse_lost_offset(path, record)
        formats.write(path, record, axes=axes, **options)
    except OSError as error:
        raise NotSaved(f"{path}: cannot be written: {error.strerror}") from error
    return path


def levels(record: SplatRecord, coarsest: int = COARSEST) -> list[SplatRecord]:
    """Levels of detail for `streamed_sog.write`: the scene, then half as many Gaussians each time.

    Args:
        record: The finest.
        coarsest: Gaussians that the last one may have.
    """
    found = [record]
    while len(found[-1]) > coarsest:
        found.append(decimated(found[-1], -(-len(found[-1]) // 2)))
    return found


def written(path: Path) -> list[Path]:
    """The files that are one scene that `export` has written: those that an index of tiles or of SOG names too."""
    if path.name.lower().endswith(formats.TILES):
        return [path, *tiles.files(path)]
    if path.name.lower() in (formats.META, formats.LEVELS):
        return sorted(leftovers.named(path))
    return [path]


def _offset(
    gaussians: Gaussians, back: Float64[np.ndarray, "4 4"], origin: Float[Tensor, "3"] | None
) -> Float64[np.ndarray, "3"]:
    """Whole units to take off, or 0 where steps of single precision are finer than a quarter of a small Gaussian."""
    means = gaussians.means.detach().cpu().double()
    middle = means.median(0).values.numpy() + (0 if origin is None else origin.double().cpu().numpy())
    placed = back[:3, :3] @ middle + back[:3, 3]
    scale = float(np.cbrt(np.linalg.det(back[:3, :3])))
    small = scale * float(gaussians.log_scales.detach().float().amax(1).quantile(0.05).exp()) if len(means) else 1.0
    fine = np.spacing(np.float32(np.abs(placed).max())) <= small / 4
    return np.zeros(3) if fine else np.round(placed)


def _refuse_lost_offset(path: Path, record: SplatRecord) -> None:
    if any(record.placement.offset) and not formats.holds_placement(path):
        raise ValueError(
            f"export: {path} cannot say where it lies, and coordinates of {record.placement.offset} are too large for "
            'single precision; write a .ply, .sog or .glb, tiles (tile=, --tile) or frame="scene"'
        )


@torch.no_grad()
def recolor(gaussians: Gaussians, colors: Float[Tensor, "3 4"]) -> None:
    """Applies A c + b to colours c = 0.5 + C0 sh0 + ...: A to every coefficient, the rest to the first."""
    matrix, offset = colors[:, :3].to(gaussians.sh0), colors[:, 3].to(gaussians.sh0)
    constant = (matrix.sum(1) * 0.5 + offset - 0.5) / SH_C0
    gaussians.sh0.copy_(gaussians.sh0 @ matrix.T + constant)
    gaussians.shN.copy_(gaussians.shN @ matrix.T)
