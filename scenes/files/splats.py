"""Gaussian scenes in files: the 3DGS `.ply` and the 32-byte `.splat`, read into and written from `SplatRecord`.

`.ply`: float32 x y z nx ny nz f_dc_0..2 f_rest_0.. opacity scale_0..2 rot_0..3, where f_rest is channel by channel
(all red coefficients, then green, then blue), opacity a logit, scale a logarithm and rot w x y z of any length.
Source: Kerbl et al. 2023, arXiv:2308.04079, the authors' files; the comment `SplatRenderMode` as in splat-transform.
`.splat`: 3 float32 position, 3 float32 scale, 4 uint8 RGBA, 4 uint8 rotation 128 + 128 q. Source: antimatter15/splat.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from neural.atomic import replacing
from neural.errors import SceneFormatError
from neural.scenes.files import ply

SH_C0 = 0.28209479177387814  # the constant of degree 0
SH_COUNTS = (0, 3, 8, 15)  # coefficients above degree 0, by degree
_MOST_LOG_SCALE = 80.0  # exp of more than 88 is infinite in fp32
_CERTAIN_LOGIT = 80.0  # read for an infinite one: its sigmoid is 1 in fp32
_SHORTEST_QUAT, _LONGEST_QUAT = 1e-15, 1e15  # outside, the squared length is 0 or infinite in fp32
_SPLAT = np.dtype([("xyz", "<f4", 3), ("scale", "<f4", 3), ("rgba", "u1", 4), ("rot", "u1", 4)])


@dataclass(frozen=True)
class SplatRecord:
    """A Gaussian scene as files hold it; quantities before their activation.

    Attributes:
        means: Centres in the file's frame (x right, y down, z forward after training on OpenCV cameras).
        quats: Rotations, w x y z, of any length above 0.
        log_scales: Natural logarithms of the standard deviations along the rotated axes.
        opacity_logits: Opacities before the sigmoid.
        sh0: Colour coefficients of degree 0: sRGB = 0.5 + 0.2820948 sh0.
        shN: Those above degree 0, K = 0, 3, 8 or 15 for degree 0 to 3.
        antialiased: Drawn with opacities compensated for the blur, as in Mip-Splatting. How wide that is files do not
            say: 0.1 square pixels there and here, 0.3 in gsplat and its kin.

    Raises:
        TypeError, ValueError: An array that is not float32, not finite or of another shape; no Gaussian at all;
            a quaternion of length 0; a scale that overflows.
    """

    means: Float32[np.ndarray, "N 3"]
    quats: Float32[np.ndarray, "N 4"]
    log_scales: Float32[np.ndarray, "N 3"]
    opacity_logits: Float32[np.ndarray, "N"]
    sh0: Float32[np.ndarray, "N 3"]
    shN: Float32[np.ndarray, "N K 3"]
    antialiased: bool = False

    def __post_init__(self) -> None:
        n = len(self.means)
        if n == 0:
            raise ValueError("holds no Gaussians; there is nothing to show")
        shapes = {"means": (n, 3), "quats": (n, 4), "log_scales": (n, 3), "opacity_logits": (n,), "sh0": (n, 3)}
        shapes["shN"] = (n, self.shN.shape[1] if self.shN.ndim == 3 else 0, 3)
        if shapes["shN"][1] not in SH_COUNTS:
            raise ValueError(f"shN has {shapes['shN'][1]} coefficients, expected one of {SH_COUNTS}")
        for name, shape in shapes.items():
            array = getattr(self, name)
            if array.dtype != np.float32:
                raise TypeError(f"{name} must be float32, got {array.dtype}; call .astype(np.float32)")
            if array.shape != shape:
                raise ValueError(f"{name} must be {list(shape)}, got {list(array.shape)}")
            _refuse_rows(name, ~np.isfinite(array), "is not finite; remove it")
        length = np.linalg.norm(self.quats.astype(np.float64), axis=1)
        unusable = (length < _SHORTEST_QUAT) | (length > _LONGEST_QUAT)
        _refuse_rows("quats", unusable, "has no direction (its length is 0 or beyond fp32); write 1 0 0 0 or remove it")
        large = self.log_scales > _MOST_LOG_SCALE
        _refuse_rows("log_scales", large, f"is above {_MOST_LOG_SCALE:g}; scales are logarithms, remove it")

    def __len__(self) -> int:
        return len(self.means)

    @property
    def sh_degree(self) -> int:
        """Degree of the colours, 0 to 3."""
        return SH_COUNTS.index(self.shN.shape[1])


def read_ply(path: Path) -> SplatRecord:
    """A 3DGS scene, in binary of either byte order or as text; properties that it does not know are left out.

    An infinite opacity logit, an opacity of exactly 0 or 1, is read as -80 or 80.

    Raises:
        SceneFormatError: Names the property and the row: something missing, damaged, not finite or of another kind
            (a point cloud, a compressed or a 2D Gaussian scene).
    """
    rows = ply.read(path, "vertex")
    names = set(rows.dtype.names or ())
    _refuse_other_kinds(path, names)
    antialiased = _antialiased(path)

    def columns(*wanted: str) -> Float32[np.ndarray, "N M"]:
        table = np.empty((len(rows), len(wanted)), dtype=np.float32)
        for i, name in enumerate(wanted):
            with np.errstate(over="ignore"):
                table[:, i] = rows[name]
            if name == "opacity":  # the logit of an opacity of exactly 0 or 1, which other tools write
                np.clip(table[:, i], -_CERTAIN_LOGIT, _CERTAIN_LOGIT, out=table[:, i], where=np.isinf(table[:, i]))
            bad = ~np.isfinite(table[:, i])
            if bad.any():
                row = int(bad.argmax())
                raise SceneFormatError(
                    path, f"property {name} is {rows[name][row]} in row {row} ({bad.sum()} such rows); remove them"
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


def write_ply(path: Path, record: SplatRecord) -> None:
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
    ply.write(path, rows, comments=[f"SplatRenderMode: {'mip' if record.antialiased else 'default'}"])


def read_splat(path: Path) -> SplatRecord:
    """A `.splat` file: colours of degree 0; an opacity of 0 or 1 is taken a quarter of a step inside.

    Raises:
        SceneFormatError: A size that is no multiple of 32 bytes, a position or scale that is not finite, a scale
            that is not positive, a rotation without direction.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SceneFormatError(path, f"cannot be read: {error.strerror}") from error
    if len(data) % _SPLAT.itemsize:
        raise SceneFormatError(
            path, f"has {len(data)} bytes, expected a multiple of {_SPLAT.itemsize}; it is truncated or no .splat file"
        )
    rows = np.frombuffer(bytearray(data), _SPLAT)
    scales = rows["scale"]
    wrong = ~((scales > 0) & np.isfinite(scales))
    try:
        _refuse_rows("scale", wrong, "is not positive and finite; remove it")
        alpha = rows["rgba"][:, 3].clip(0.25, 254.75) / 255
        return SplatRecord(
            means=rows["xyz"].astype(np.float32),
            quats=(rows["rot"].astype(np.float32) - 128) / 128,
            log_scales=np.log(scales.astype(np.float64)).astype(np.float32),
            opacity_logits=np.log(alpha / (1 - alpha)).astype(np.float32),
            sh0=((rows["rgba"][:, :3] / 255 - 0.5) / SH_C0).astype(np.float32),
            shN=np.zeros((len(rows), 0, 3), dtype=np.float32),
        )
    except ValueError as error:
        raise SceneFormatError(path, str(error)) from None


def write_splat(path: Path, record: SplatRecord) -> None:
    """Write a `.splat`, the largest and most opaque first, as its viewers load it; to a temporary name first.

    The format has no place for `shN` nor for `antialiased`: colours lose their dependence on the view.
    """
    rows = np.empty(len(record), dtype=_SPLAT)
    opacities = 1 / (1 + np.exp(-record.opacity_logits.astype(np.float64).clip(-700, 700)))
    quats = record.quats / np.linalg.norm(record.quats.astype(np.float64), axis=1, keepdims=True)
    rows["xyz"] = record.means
    rows["scale"] = np.exp(record.log_scales.clip(-87, None))  # smaller would be written as 0
    rows["rgba"][:, :3] = _bytes((0.5 + SH_C0 * record.sh0.astype(np.float64)) * 255)
    rows["rgba"][:, 3] = _bytes(opacities * 255)
    rows["rot"] = _bytes(quats * 128 + 128)
    log_sizes = record.log_scales.sum(axis=1, dtype=np.float64) + np.log(opacities)
    with replacing(path) as file:
        file.write(rows[np.argsort(-log_sizes, kind="stable")].tobytes())


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.rint(values).clip(0, 255).astype(np.uint8)


def _refuse_rows(name: str, wrong: np.ndarray, why: str) -> None:
    bad = wrong.any(axis=tuple(range(1, wrong.ndim)))
    if bad.any():
        raise ValueError(f"{name} of row {int(bad.argmax())} {why} ({int(bad.sum())} such rows)")


def _refuse_other_kinds(path: Path, names: set[str]) -> None:
    if "packed_position" in names:
        raise SceneFormatError(path, "is a compressed PLY (packed_position), expected the 3DGS layout; unpack it first")
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


def _antialiased(path: Path) -> bool:
    """What the comments say: `SplatRenderMode: mip`, or `antialiased` alone or with a value that is not 0 or false."""
    for line in ply.read_comments(path):
        if mode := re.match(r"SplatRenderMode:?\s*(\w+)", line, re.IGNORECASE):
            if mode[1].lower() not in ("default", "mip"):
                raise SceneFormatError(path, f"comment SplatRenderMode is {mode[1]!r}, expected default or mip")
            return mode[1].lower() == "mip"
        if flag := re.match(r"anti-?aliased:?\s*(\w*)\s*$", line, re.IGNORECASE):
            return flag[1].lower() not in ("0", "false")
    return False
