"""The 3DGS `.ply`, everything in float32.

x y z nx ny nz f_dc_0..2 f_rest_0.. opacity scale_0..2 rot_0..3, where f_rest is channel by channel (all red
coefficients, then green, then blue), opacity a logit, scale a logarithm and rot w x y z of any length.
2D Gaussians have no scale_2. Axes are RDF unless a comment says others (see `comments`).
Source: Kerbl et al. 2023, arXiv:2308.04079, the authors' files.
"""

import re
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from neural.errors import SceneFormatError
from neural.scenes.files import ply
from neural.scenes.files.gaussians.axes import Axes, flipped
from neural.scenes.files.gaussians.ply.comments import AXES, said, written
from neural.scenes.files.gaussians.record import SH_COUNTS, SplatRecord

_CERTAIN_LOGIT = 80.0  # read for an infinite one: its sigmoid is 1 in fp32
_FLAT = np.float32(np.log(1e-3))  # of surfels: thickness over the smaller radius


def read(path: Path, *, axes: Axes | None = None) -> SplatRecord:
    """A 3DGS scene, in binary of either byte order or as text; properties that it does not know are left out.

    An infinite opacity logit, an opacity of exactly 0 or 1, is read as -80 or 80. 2D Gaussians get a third scale.

    Args:
        path: The file.
        axes: Its own, whatever it says.

    Raises:
        SceneFormatError: Names the property and the row: something missing, damaged, not finite or of another kind
            (a point cloud or a compressed scene).
    """
    rows = ply.read(path, "vertex")
    names = set(rows.dtype.names or ())
    _refuse_other_kinds(path, names)
    header = said(path)

    fields = [rows.dtype[name] for name in rows.dtype.names or ()]
    plain = bool(fields) and all(field == np.dtype("<f4") for field in fields)
    whole = rows.view("<f4").reshape(len(rows), len(fields)) if plain else None  # one pass instead of one a column

    def columns(*wanted: str) -> Float32[np.ndarray, "N M"]:
        first = (rows.dtype.names or ()).index(wanted[0]) if wanted else 0
        if whole is not None and wanted == (rows.dtype.names or ())[first : first + len(wanted)]:
            table = whole[:, first : first + len(wanted)].copy()
        else:
            table = np.empty((len(rows), len(wanted)), dtype=np.float32)
            for i, name in enumerate(wanted):
                with np.errstate(over="ignore"):
                    table[:, i] = rows[name]
        if wanted == ("opacity",):  # the logit of an opacity of exactly 0 or 1, which other tools write
            np.clip(table, -_CERTAIN_LOGIT, _CERTAIN_LOGIT, out=table, where=np.isinf(table))
        bad = ~np.isfinite(table)
        if bad.any():
            column = int(bad.any(axis=0).argmax())
            row, count = int(bad[:, column].argmax()), int(bad[:, column].sum())
            name = wanted[column]
            raise SceneFormatError(
                path, f"property {name} is {rows[name][row]} in row {row} ({count} such rows); remove them"
            )
        return table

    n_rest = _rest_count(path, names)
    rest = columns(*(f"f_rest_{i}" for i in range(n_rest))).reshape(len(rows), 3, n_rest // 3)
    log_scales = columns(*(f"scale_{i}" for i in range(3 if "scale_2" in names else 2)))
    if log_scales.shape[1] == 2:
        log_scales = np.concatenate([log_scales, log_scales.min(axis=1, keepdims=True) + _FLAT], axis=1)
    try:
        record = SplatRecord(
            means=columns("x", "y", "z"),
            quats=columns("rot_0", "rot_1", "rot_2", "rot_3"),
            log_scales=log_scales,
            opacity_logits=columns("opacity")[:, 0],
            sh0=columns("f_dc_0", "f_dc_1", "f_dc_2"),
            shN=np.ascontiguousarray(rest.transpose(0, 2, 1)),
            antialiased=header.antialiased,
            surfels=header.surfels or "scale_2" not in names,
            placement=header.placement,
        )
        return flipped(record, (axes or header.axes, "RDF"))
    except ValueError as error:
        raise SceneFormatError(path, str(error)) from None


def write(path: Path, record: SplatRecord, *, axes: Axes = AXES) -> None:
    """Write the common layout in little-endian binary, float32 kept exactly, to a temporary name first.

    Args:
        path: The file.
        record: In RDF axes.
        axes: Of the file.
    """
    record = flipped(record, ("RDF", axes))
    rest = record.shN.transpose(0, 2, 1).reshape(len(record), -1)
    groups = {"x y z": record.means, "nx ny nz": np.zeros_like(record.means)}
    groups["f_dc_0 f_dc_1 f_dc_2"] = record.sh0
    groups[" ".join(f"f_rest_{i}" for i in range(rest.shape[1]))] = rest
    groups["opacity"] = record.opacity_logits[:, None]
    n_scales = 2 if record.surfels else 3
    groups[" ".join(f"scale_{i}" for i in range(n_scales))] = record.log_scales[:, :n_scales]
    groups["rot_0 rot_1 rot_2 rot_3"] = record.quats
    names = " ".join(groups).split()
    table = np.concatenate([*groups.values()], axis=1, dtype="<f4")
    rows = table.view([(name, "<f4") for name in names])[:, 0]
    ply.write(path, rows, comments=written(record, axes))


def _refuse_other_kinds(path: Path, names: set[str]) -> None:
    if "packed_position" in names:
        raise SceneFormatError(path, "is a compressed PLY (packed_position), expected the 3DGS layout")
    wanted = ["x", "y", "z", "opacity", *(f"f_dc_{i}" for i in range(3))]
    wanted += [*(f"scale_{i}" for i in range(3)), *(f"rot_{i}" for i in range(4))]
    missing = [name for name in wanted if name not in names and name != "scale_2"]
    if missing:
        hint = "it is a point cloud: train a scene from it" if "opacity" in missing else "write the 3DGS layout"
        raise SceneFormatError(path, f"element vertex has no properties {', '.join(missing)}; {hint}")


def _rest_count(path: Path, names: set[str]) -> int:
    numbers = (re.fullmatch(r"f_rest_(0|[1-9]\d{0,3})", name, re.ASCII) for name in names)
    found = sorted(int(number[1]) for number in numbers if number)
    if len(found) // 3 not in SH_COUNTS or found != list(range(3 * (len(found) // 3))):
        raise SceneFormatError(
            path,
            f"has {len(found)} properties f_rest_*, expected f_rest_0 to f_rest_{{8, 23 or 44}} for SH degree 1, 2 or "
            "3; export it with one of these degrees or 0",
        )
    return len(found)
