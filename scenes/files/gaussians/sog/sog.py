"""PlayCanvas' SOG: Gaussians as pixels of lossless WebP pictures; versions 1 and 2 are read, 2 is written.

Gaussian i is pixel i, row by row, in Morton order. means_l and means_u: low and high byte of 16 bits between `mins`
and `maxs`, of sign(x) log(1 + |x|). quats: the three smallest of w x y z, from -sqrt(1/2) to sqrt(1/2); alpha 252 +
which is largest. scales: numbers in a codebook of 256 logarithms. sh0: numbers in another; alpha is the opacity.
shN_labels: 16 bits, which entry of the palette; shN_centroids: the palette, 64 entries a row, numbers in a third
codebook. Version 1 has least and most of each channel in place of codebooks, of the opacity's logit too.

Steps: 1/65535 of the range of log(1 + |x|), 1/255 of sqrt(2) in rotations and of 1 in opacities; scales and sh0 go to
the nearest of 256 entries, harmonics to the nearest of at most 65536, the power of two below the number of Gaussians.
Source: PlayCanvas' "The SOG format"; github playcanvas/splat-transform, `read-sog.ts`, `read-sog-v1.ts`.
"""

import json
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, UInt8

from neural.atomic import replacing
from neural.errors import SceneFormatError
from neural.morton import morton_order
from neural.scenes.files.gaussians import guarded, packing, placement
from neural.scenes.files.gaussians.axes import Axes, flipped
from neural.scenes.files.gaussians.record import SH_COUNTS, SplatRecord
from neural.scenes.files.gaussians.sog import leftovers
from neural.scenes.files.gaussians.sog.codebook import codebook, nearest
from neural.scenes.files.gaussians.sog.files import META, SogFiles, bundled, encoded, pixels
from neural.scenes.files.gaussians.sog.palette import palette

_PARTS = {"means": 2, "scales": 1, "quats": 1, "sh0": 1, "shN": 2}  # and how many pictures each has
_MOST_GAUSSIANS = 1 << 26
_MOST_ENTRIES = 1 << 16
_BYTES = 16  # a Gaussian has in pictures without harmonics
_ENTRIES_A_ROW = 64
_LARGEST = 252  # alpha where w is the largest
_MODELS = ("default", "antialiased", "2dgs")
AXES: Axes = "RDF"


def read(path: Path, *, axes: Axes | None = None) -> SplatRecord:
    """A `.sog`, or the `meta.json` of a folder; opacities of 0 or 1 are taken a quarter of a step inside.

    Args:
        path: The file.
        axes: Its own, whatever it says.

    Raises:
        SceneFormatError: Something missing, damaged, of another version or kind, or of sizes that disagree.
    """
    files = SogFiles(path)
    meta = _Meta(path, files.meta())
    n = meta.count
    data = {name: files.read(name) for names in meta.names.values() for name in names}
    guarded.refuse_bomb(path, n * _BYTES, sum(map(len, data.values())))

    def plane(part: str, i: int = 0) -> UInt8[np.ndarray, "N 4"]:
        """What the pictures say of each Gaussian; some writers leave margins."""
        name = meta.names[part][i]
        return pixels(path, name, data[name], n, n + n // 4 + 65536).reshape(-1, 4)[:n]

    places = plane("means", 0)[:, :3] | plane("means", 1)[:, :3].astype(np.int64) << 8
    low, high = meta.numbers("means", "mins", 3), meta.numbers("means", "maxs", 3)
    curved = low + (high - low) * (places / 65535)
    quats, sh0 = plane("quats"), plane("sh0")
    colors = meta.decoded("sh0", sh0)
    if (quats[:, 3] < _LARGEST).any():
        row = int((quats[:, 3] < _LARGEST).argmax())
        raise SceneFormatError(
            path, f"has a rotation of kind {quats[row, 3]} in row {row}, expected {_LARGEST} to 255; it is damaged"
        )
    harmonics = _read_harmonics(path, meta, data, plane) if "shN" in meta.names else np.zeros((n, 0, 3), np.float32)
    place, said = placement.understood(path, meta.asset, AXES)
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # what is beyond fp32 is refused as not finite
            record = SplatRecord(
                means=(np.sign(curved) * np.expm1(np.abs(curved))).astype(np.float32),
                quats=packing.from_smallest_three(
                    quats[:, 3].astype(np.int64) - _LARGEST,
                    ((quats[:, :3] / 255 - 0.5) * math.sqrt(2)).astype(np.float32),
                ),
                log_scales=meta.decoded("scales", plane("scales")[:, :3]),
                opacity_logits=colors[:, 3] if meta.version == 1 else packing.logits(sh0[:, 3]),
                sh0=colors[:, :3],
                shN=harmonics,
                antialiased=meta.model == "antialiased",
                surfels=meta.model == "2dgs",
                placement=place,
            )
        return flipped(record, (axes or said, "RDF"))
    except ValueError as error:
        raise SceneFormatError(path, str(error)) from None


def write(path: Path, record: SplatRecord, *, axes: Axes = AXES) -> None:
    """Write version 2 in Morton order: a `.sog`, or a folder of pictures beside a `meta.json`, which is written last.

    Args:
        path: Ends in .sog, or is the `meta.json` of a folder that exists.
        record: In RDF axes.
        axes: Of the file.

    Raises:
        ValueError: More Gaussians than a picture has room for.
    """
    files = packed(flipped(record, ("RDF", axes)), axes)
    if path.suffix.lower() == ".sog":
        with replacing(path) as file:
            bundled(files, file)
        return
    with leftovers.replaced(path):
        for name, data in sorted(files.items(), key=lambda item: item[0] == META):
            with replacing(path.with_name(name)) as file:
                file.write(data)


def packed(record: SplatRecord, axes: Axes = AXES, order: Int64[np.ndarray, "N"] | None = None) -> dict[str, bytes]:
    """The files of a scene by their names, `meta.json` first.

    Args:
        record: In the axes of the file.
        axes: Of the file.
        order: Of the Gaussians; Morton order without it.

    Raises:
        ValueError: More Gaussians than a picture has room for.
    """
    n = len(record)
    if n > _MOST_GAUSSIANS:
        raise ValueError(f"sog: {n} Gaussians, and a file holds at most {_MOST_GAUSSIANS}; write tiles")
    if order is None:
        order = morton_order(torch.from_numpy(record.means)).numpy()
    means = record.means[order].astype(np.float64)
    curved = np.sign(means) * np.log1p(np.abs(means))
    low, high = curved.min(axis=0), curved.max(axis=0)
    places = packing.rounded((curved - low) / np.where(high > low, high - low, 1) * 65535, 65535)
    largest, others = packing.smallest_three(record.quats[order])
    alpha = packing.bytes_of(packing.opacities(record.opacity_logits[order]) * 255)
    scales, colors = codebook(record.log_scales), codebook(record.sh0)
    planes = {
        "means_l.webp": _plane(places & 255),
        "means_u.webp": _plane(places >> 8),
        "scales.webp": _plane(nearest(scales, record.log_scales[order])),
        "quats.webp": _plane(packing.bytes_of((others * math.sqrt(0.5) + 0.5) * 255), _LARGEST + largest),
        "sh0.webp": _plane(nearest(colors, record.sh0[order]), alpha),
    }
    asset = {"generator": "neural", **placement.described(record.placement, axes, AXES)}
    meta: dict[str, Any] = {"version": 2, "asset": asset, "count": n}
    if record.antialiased or record.surfels:
        meta["model"] = "2dgs" if record.surfels else "antialiased"
    meta["means"] = {"mins": low.tolist(), "maxs": high.tolist(), "files": ["means_l.webp", "means_u.webp"]}
    meta["scales"] = {"codebook": scales.tolist(), "files": ["scales.webp"]}
    meta["quats"] = {"files": ["quats.webp"]}
    meta["sh0"] = {"codebook": colors.tolist(), "files": ["sh0.webp"]}
    if record.sh_degree:
        meta["shN"], more = _write_harmonics(record.shN[order], record.sh_degree)
        planes |= more
    with ThreadPoolExecutor() as pool:
        pictures = dict(zip(planes, pool.map(encoded, planes.values()), strict=True))
    return {META: json.dumps(meta).encode(), **pictures}


class _Meta:
    """`meta.json`, every part of it checked where it is asked for."""

    def __init__(self, path: Path, content: dict[str, Any]) -> None:
        self.path, self._content = path, content
        self.version = content.get("version", 1)
        if self.version not in (1, 2) or isinstance(self.version, bool | float):
            raise self._error(f"is of version {self.version!r}, expected 1 or 2")
        model = content.get("model", "default")
        if not isinstance(model, str) or model not in _MODELS:
            raise self._error(f"holds a model of kind {model!r}, expected one of {', '.join(_MODELS)}")
        self.model = model
        asset = content.get("asset")
        self.asset: dict[str, Any] = asset if isinstance(asset, dict) else {}
        self.names = {part: self._files(part, count) for part, count in _PARTS.items() if self._has(part)}
        shape = content.get("count") if self.version == 2 else self._get("means", "shape")
        count = shape[0] if isinstance(shape, list) and shape else shape
        if not isinstance(count, int) or isinstance(count, bool) or not 0 < count <= _MOST_GAUSSIANS:
            raise self._error(f"claims {str(count)[:20]} Gaussians, expected 1 to {_MOST_GAUSSIANS}")
        self.count = count

    def numbers(self, part: str, name: str, n: int) -> Float[np.ndarray, "n"]:
        """Finite ones, exactly so many."""
        found = self._get(part, name)
        found = found if isinstance(found, list) else [found]
        if len(found) != n or not all(isinstance(x, int | float) and abs(x) < 1e30 for x in found):
            raise self._error(f"has {part}.{name} of {len(found)} values, expected {n} finite numbers")
        return np.array(found, dtype=np.float64)

    def whole(self, part: str, name: str, most: int) -> int:
        """A number from 1 on."""
        found = self._get(part, name)
        if not isinstance(found, int) or not 0 < found <= most:
            raise self._error(f"has {part}.{name} {str(found)[:20]}, expected 1 to {most}")
        return found

    def decoded(self, part: str, steps: UInt8[np.ndarray, "M C"]) -> Float32[np.ndarray, "M C"]:
        """What the bytes of a picture stand for."""
        if self.version == 2:
            return self.numbers(part, "codebook", 256).astype(np.float32)[steps]
        one = part == "shN"  # range for all of them
        low, high = (self.numbers(part, name, 1 if one else steps.shape[1]) for name in ("mins", "maxs"))
        return (low + (high - low) * (steps / 255)).astype(np.float32)

    def _has(self, part: str) -> bool:
        return part != "shN" or self._content.get("shN") is not None

    def _get(self, part: str, name: str) -> Any:
        found = self._content.get(part)
        if not isinstance(found, dict) or name not in found:
            raise self._error(f"has no {part}.{name}")
        return found[name]

    def _files(self, part: str, count: int) -> list[str]:
        names = self._get(part, "files")
        if not isinstance(names, list) or len(names) != count or not all(isinstance(name, str) for name in names):
            raise self._error(f"has no list of {count} names in {part}.files")
        return names

    def _error(self, reason: str) -> SceneFormatError:
        return SceneFormatError(self.path, f"{META} {reason}; write the scene again")


def _plane(colors: np.ndarray, alpha: np.ndarray | int = 255) -> UInt8[np.ndarray, "H W 4"]:
    """A picture about as wide as high, both in fours as others write them, filled row by row."""
    n = len(colors)
    width = math.ceil(math.sqrt(n) / 4) * 4
    height = math.ceil(n / width / 4) * 4
    flat = np.zeros((width * height, 4), dtype=np.uint8)
    flat[:n, : colors.shape[1]] = colors
    flat[:n, 3] = alpha
    return flat.reshape(height, width, 4)


def _write_harmonics(
    shN: Float32[np.ndarray, "N K 3"], degree: int
) -> tuple[dict[str, Any], dict[str, UInt8[np.ndarray, "H W 4"]]]:
    """What `meta.json` says of them, and their pictures."""
    n, k, _ = shN.shape
    n_entries = min(_MOST_ENTRIES, 1 << n.bit_length() - 1)
    entries, labels = palette(shN.reshape(n, -1), n_entries)
    book = codebook(entries)
    rows = -(-n_entries // _ENTRIES_A_ROW)
    centroids = np.zeros((rows * _ENTRIES_A_ROW * k, 4), dtype=np.uint8)
    centroids[: n_entries * k, :3] = nearest(book, entries).reshape(-1, 3)
    centroids[: n_entries * k, 3] = 255
    files = {
        "shN_centroids.webp": centroids.reshape(rows, _ENTRIES_A_ROW * k, 4),
        "shN_labels.webp": _plane(np.stack([labels & 255, labels >> 8], axis=1)),
    }
    return {"count": n_entries, "bands": degree, "codebook": book.tolist(), "files": list(files)}, files


def _read_harmonics(
    path: Path, meta: _Meta, data: dict[str, bytes], plane: Callable[[str, int], np.ndarray]
) -> Float32[np.ndarray, "N K 3"]:
    """What the labels choose from the palette."""
    name = meta.names["shN"][0]
    table = pixels(path, name, data[name], _ENTRIES_A_ROW, _MOST_ENTRIES * SH_COUNTS[-1])
    height, width, _ = table.shape
    k = width // _ENTRIES_A_ROW
    if k * _ENTRIES_A_ROW != width or k not in SH_COUNTS[1:]:
        wide = ", ".join(str(_ENTRIES_A_ROW * count) for count in SH_COUNTS[1:])
        raise SceneFormatError(path, f"has a palette {width} pixels wide in {name}, expected one of {wide}")
    n_entries = height * _ENTRIES_A_ROW
    if meta.version == 2:
        bands = meta.whole("shN", "bands", len(SH_COUNTS) - 1)
        claimed = meta.whole("shN", "count", _MOST_ENTRIES)
        if SH_COUNTS[bands] != k or claimed > n_entries:
            raise SceneFormatError(
                path,
                f"claims a palette of {claimed} entries of degree {bands}, but {name} has room for {n_entries} of "
                f"{k} coefficients; it is damaged",
            )
        n_entries = claimed
    labels: Int64[np.ndarray, N] = plane("shN", 1)[:, :2].astype(np.int64) @ np.array([1, 256])
    if labels.max() >= n_entries:
        row = int(labels.argmax())
        raise SceneFormatError(path, f"row {row} asks for entry {labels[row]} of a palette of {n_entries}")
    with np.errstate(over="ignore"):
        return meta.decoded("shN", table[..., :3].reshape(-1, 3)).reshape(-1, k, 3)[labels]
