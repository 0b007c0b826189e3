"""The 32-byte `.splat`: 3 float32 position, 3 float32 scale, 4 uint8 RGBA, 4 uint8 rotation 128 + 128 q.

Source: antimatter15/splat. Steps: 1/255 of colour and opacity, 1/128 of a rotation's components; positions and scales
are float32.
"""

from pathlib import Path

import numpy as np

from neural.atomic import replacing
from neural.errors import SceneFormatError
from neural.scenes.files.gaussians import guarded, packing
from neural.scenes.files.gaussians.axes import Axes, flipped
from neural.scenes.files.gaussians.record import SH_C0, SplatRecord, refuse_rows

_SPLAT = np.dtype([("xyz", "<f4", 3), ("scale", "<f4", 3), ("rgba", "u1", 4), ("rot", "u1", 4)])


AXES: Axes = "RDF"


def read(path: Path, *, axes: Axes | None = None) -> SplatRecord:
    """A `.splat` file: colours of degree 0; an opacity of 0 or 1 is taken a quarter of a step inside.

    Args:
        path: The file.
        axes: Its own; it cannot say them.

    Raises:
        SceneFormatError: A size that is no multiple of 32 bytes, a position or scale that is not finite, a scale
            that is not positive, a rotation without direction.
    """
    data = guarded.read_bytes(path)
    if len(data) % _SPLAT.itemsize:
        raise SceneFormatError(
            path, f"has {len(data)} bytes, expected a multiple of {_SPLAT.itemsize}; it is truncated or no .splat file"
        )
    rows = np.frombuffer(bytearray(data), _SPLAT)
    scales = rows["scale"]
    wrong = ~((scales > 0) & np.isfinite(scales))
    try:
        refuse_rows("scale", wrong, "is not positive and finite; remove it")
        record = SplatRecord(
            means=rows["xyz"].astype(np.float32),
            quats=(rows["rot"].astype(np.float32) - 128) / 128,
            log_scales=np.log(scales.astype(np.float64)).astype(np.float32),
            opacity_logits=packing.logits(rows["rgba"][:, 3]),
            sh0=((rows["rgba"][:, :3] / 255 - 0.5) / SH_C0).astype(np.float32),
            shN=np.zeros((len(rows), 0, 3), dtype=np.float32),
        )
        return flipped(record, (axes or AXES, "RDF"))
    except ValueError as error:
        raise SceneFormatError(path, str(error)) from None


def write(path: Path, record: SplatRecord, *, axes: Axes = AXES) -> None:
    """Write a `.splat`, the largest and most opaque first, as its viewers load it; to a temporary name first.

    The format has no place for `shN` nor for `antialiased`: colours lose their dependence on the view.

    Args:
        path: The file.
        record: In RDF axes.
        axes: Of the file.
    """
    record = flipped(record, ("RDF", axes))
    rows = np.empty(len(record), dtype=_SPLAT)
    opacities = packing.opacities(record.opacity_logits)
    quats = record.quats / np.linalg.norm(record.quats.astype(np.float64), axis=1, keepdims=True)
    rows["xyz"] = record.means
    rows["scale"] = np.exp(record.log_scales.clip(-87, None))  # smaller would be written as 0
    rows["rgba"][:, :3] = packing.bytes_of((0.5 + SH_C0 * record.sh0.astype(np.float64)) * 255)
    rows["rgba"][:, 3] = packing.bytes_of(opacities * 255)
    rows["rot"] = packing.bytes_of(quats * 128 + 128)
    log_sizes = record.log_scales.sum(axis=1, dtype=np.float64) + np.log(opacities)
    with replacing(path) as file:
        file.write(rows[np.argsort(-log_sizes, kind="stable")].tobytes())
