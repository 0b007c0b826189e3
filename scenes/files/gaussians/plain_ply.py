"""The 3DGS `.ply`, everything in float32.

x y z nx ny nz f_dc_0..2 f_rest_0.. opacity scale_0..2 rot_0..3, where f_rest is channel by channel (all red
coefficients, then green, then blue), opacity a logit, scale a logarithm and rot w x y z of any length.
Source: Kerbl et al. 2023, arXiv:2308.04079, the authors' files; the comment `SplatRenderMode` as in splat-transform.
"""

import re
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from neural.errors import SceneFormatError
from neural.scenes.files import ply
from neural.scenes.files.gaussians.record import SH_COUNTS, SplatRecord

_CERTAIN_LOGIT = 80.0  # read for an infinite one: its sigmoid is 1 in fp32


def read(path: Path) -> SplatRecord:
    """A 3DGS scene, in binary of either byte order or as text; properties that it does not know are left out.

    An infinite opacity logit, an opacity of exactly 0 or 1, is read as -80 or 80.

    Raises:
        SceneFormatError: Names the property and the row: something missing, damaged, not finite or of another kind
            (a point cloud, a compressed or a 2D Gaussian scene).
    """
    rows = ply.read(path, "vertex")
    names = set(rows.dtype.names or ())
    _refuse_other_kinds(path, names)
    antialiased = is_antialiased(path)

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
    try:
        return SplatRecord(
            means=columns("x", "y", "z"),
            quats=columns("rot_0", "rot_1", "rot_2", "rot_3"),
            log_scales=columns("scale_0", "scale_1", "scale_2"),
            opacity_logits=columns("opacity")[:, 0],
            sh0=columns("f_dc_0", "f_dc_1", "f_dc_2"),
            shN=np.ascontiguousarray(rest.transpose(0, 2, 1)),
            antialiased=antialiased,
        )
    except ValueError as error:
        raise SceneFormatError(path, str(error)) from None


def write(path: Path, record: SplatRecord) -> None:
    """Write the common layout in little-endian binary, float32 kept exactly, to a temporary name first."""
    rest = record.shN.transpose(0, 2, 1).reshape(len(record), -1)
    groups = {"x y z": record.means, "nx ny nz": np.zeros_like(record.means)}
    groups["f_dc_0 f_dc_1 f_dc_2"] = record.sh0
    groups[" ".join(f"f_rest_{i}" for i in range(rest.shape[1]))] = rest
    groups["opacity"] = record.opacity_logits[:, None]
    groups["scale_0 scale_1 scale_2"] = record.log_scales
    groups["rot_0 rot_1 rot_2 rot_3"] = record.quats
    names = " ".join(groups).split()
    table = np.concatenate([*groups.values()], axis=1, dtype="<f4")
    rows = table.view([(name, "<f4") for name in names])[:, 0]
    ply.write(path, rows, comments=[render_mode(record)])


def render_mode(record: SplatRecord) -> str:
    """The comment that says how it is drawn."""
    return f"SplatRenderMode: {'mip' if record.antialiased else 'default'}"


def is_antialiased(path: Path) -> bool:
    """What the comments say: `SplatRenderMode: mip`, or `antialiased` alone or with a value that is not 0 or false.

    Raises:
        SceneFormatError: Another mode.
    """
    for line in ply.read_comments(path):
        if mode := re.match(r"SplatRenderMode:?\s*(\w+)", line, re.IGNORECASE):
            if mode[1].lower() not in ("default", "mip"):
                raise SceneFormatError(path, f"comment SplatRenderMode is {mode[1]!r}, expected default or mip")
            return mode[1].lower() == "mip"
        if flag := re.match(r"anti-?aliased:?\s*(\w*)\s*$", line, re.IGNORECASE):
            return flag[1].lower() not in ("0", "false")
    return False


def _refuse_other_kinds(path: Path, names: set[str]) -> None:
    if "packed_position" in names:
        raise SceneFormatError(path, "is a compressed PLY (packed_position), expected the 3DGS layout")
    wanted = ["x", "y", "z", "opacity", *(f"f_dc_{i}" for i in range(3))]
    wanted += [*(f"scale_{i}" for i in range(3)), *(f"rot_{i}" for i in range(4))]
    missing = [name for name in wanted if name not in names]
    if missing == ["scale_2"]:
        raise SceneFormatError(path, "has no property scale_2: a 2D Gaussian scene, which is not supported")
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
