"""glTF's Gaussians: a `.glb` with a POINTS primitive of the extension KHR_gaussian_splatting, in float32.

POSITION; with the extension's prefix ROTATION (x y z w), SCALE (standard deviations, not their logarithms), OPACITY (0
to 1), SH_DEGREE_l_COEF_n (red, green, blue; the signs of 3DGS); COLOR_0 for viewers that know points only. Axes are
LUF: y up, z towards the viewer of what faces forward. What glTF has no word for is in `asset.extras`: `model`
(antialiased or 2dgs), `metres_per_unit`, `crs`, `offset`, `axes`.

Read too: rotations, scales and opacities in normalised integers, several primitives, and nodes that turn, scale evenly
and move. Scales of which some are negative are logarithms, as drafts before June 2026 had them.
Source: Khronos, KHR_gaussian_splatting, ratified 2026; glTF 2.0, section 4.4 (GLB) and 3.6 (accessors).
"""

import json
import struct
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Float64

from neural.atomic import replacing
from neural.errors import SceneFormatError
from neural.poses import rotation_from_quat
from neural.scenes.files.gaussians import guarded, packing, placement
from neural.scenes.files.gaussians.axes import Axes, flipped, rotated
from neural.scenes.files.gaussians.record import SH_C0, SplatRecord, joined

AXES: Axes = "LUF"
_EXTENSION = "KHR_gaussian_splatting"
_HEAD, _CHUNK = struct.Struct("<4sII"), struct.Struct("<II")
_JSON, _BIN = 0x4E4F534A, 0x004E4942
_MOST_JSON = 1 << 24  # bytes
_MOST_NODES, _MOST_DEPTH = 1 << 16, 64
_TYPES = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}
_MODELS = ("default", "antialiased", "2dgs")


def write(path: Path, record: SplatRecord, *, axes: Axes = AXES) -> None:
    """Write a `.glb`, Gaussians in their order, to a temporary name first.

    Args:
        path: The file.
        record: In RDF axes.
        axes: Of the file; viewers take LUF for granted.
    """
    turned = flipped(record, ("RDF", axes))
    opacities = packing.opacities(turned.opacity_logits).astype("<f4")
    quats = turned.quats / np.linalg.norm(turned.quats.astype(np.float64), axis=1, keepdims=True)
    colors = np.concatenate([0.5 + SH_C0 * turned.sh0, opacities[:, None]], axis=1)
    arrays = {
        "POSITION": turned.means,
        "COLOR_0": packing.bytes_of(colors * 255),
        "ROTATION": np.roll(quats, -1, axis=1).astype("<f4"),
        "SCALE": np.exp(turned.log_scales.clip(-87, None)),  # smaller would be written as 0
        "OPACITY": opacities,
        "SH_DEGREE_0_COEF_0": turned.sh0,
    }
    for degree in range(1, turned.sh_degree + 1):
        for n in range(2 * degree + 1):
            arrays[f"SH_DEGREE_{degree}_COEF_{n}"] = turned.shN[:, degree * degree - 1 + n]
    names = [name if name in ("POSITION", "COLOR_0") else f"{_EXTENSION}:{name}" for name in arrays]
    views, accessors, start = [], [], 0
    for i, (name, array) in enumerate(arrays.items()):
        views.append({"buffer": 0, "byteOffset": start, "byteLength": array.nbytes, "target": 34962})
        width = {1: "SCALAR", 3: "VEC3", 4: "VEC4"}[array.shape[1] if array.ndim == 2 else 1]
        said: dict[str, Any] = {"bufferView": i, "componentType": 5126, "count": len(record), "type": width}
        if name == "COLOR_0":
            said |= {"componentType": 5121, "normalized": True}
        if name == "POSITION":
            said |= {"min": array.min(axis=0).tolist(), "max": array.max(axis=0).tolist()}
        accessors.append(said)
        start += array.nbytes
    splatting = {"kernel": "ellipse", "colorSpace": "srgb_rec709_display"}
    splatting |= {"sortingMethod": "cameraDistance", "projection": "perspective"}
    primitive = {"attributes": {name: i for i, name in enumerate(names)}, "mode": 0}
    extras = placement.described(turned.placement, axes, AXES)
    if turned.antialiased or turned.surfels:
        extras["model"] = "2dgs" if turned.surfels else "antialiased"
    content: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "neural", **({"extras": extras} if extras else {})}
    }
    content |= {"extensionsUsed": [_EXTENSION], "scene": 0, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0}]}
    content["meshes"] = [{"primitives": [primitive | {"extensions": {_EXTENSION: splatting}}]}]
    content |= {"buffers": [{"byteLength": start}], "bufferViews": views, "accessors": accessors}
    text = json.dumps(content, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    if start + len(text) + 28 >= 1 << 32:
        raise ValueError(f"glb: {start:,} bytes, and a file holds less than 4 GiB; write tiles (tile=, --tile)")
    with replacing(path) as file:
        file.write(_HEAD.pack(b"glTF", 2, _HEAD.size + 2 * _CHUNK.size + len(text) + start))
        file.write(_CHUNK.pack(len(text), _JSON) + text)
        file.write(_CHUNK.pack(start, _BIN))
        for array in arrays.values():
            file.write(np.ascontiguousarray(array).data)


def read(path: Path, *, axes: Axes | None = None) -> SplatRecord:
    """All Gaussians of a `.glb`; opacities of 0 or 1 are taken a quarter of 1/255 inside.

    Args:
        path: The file.
        axes: Its own, whatever it says.

    Raises:
        SceneFormatError: Damaged, without the extension, compressed, or with a node that shears or mirrors.
    """
    content, data = _chunks(path)
    asset = content.get("asset")
    extras = asset.get("extras") if isinstance(asset, dict) else None
    extras = extras if isinstance(extras, dict) else {}
    place, said = placement.understood(path, extras, AXES)
    if extras.get("model", "default") not in _MODELS:
        raise SceneFormatError(path, f"holds a model of kind {str(extras['model'])[:20]!r}")
    records, size = [], 0
    for mesh, matrix in _meshes(path, content):
        for primitive in _dicts(path, mesh, "primitives"):
            if _EXTENSION in _dict(path, primitive, "extensions"):
                found = _primitive(path, content, data, primitive)
                size += 4 * (14 + 3 * found.shN.shape[1]) * len(found)
                guarded.refuse_bomb(path, size, len(data))  # many nodes may show one mesh
                records.append(_moved(path, found, matrix))
    if not records:
        raise SceneFormatError(path, f"has no primitive with {_EXTENSION}; it is no Gaussian scene")
    model = extras.get("model")
    whole = joined(records)
    whole = replace(whole, antialiased=model == "antialiased", surfels=model == "2dgs", placement=place)
    return flipped(whole, (axes or said, "RDF"))


def _chunks(path: Path) -> tuple[dict[str, Any], bytes]:
    """The description, and the bytes that it describes."""
    data = guarded.read_bytes(path)
    if data[:4] != b"glTF" or len(data) < _HEAD.size + _CHUNK.size:
        raise SceneFormatError(path, "not a .glb file (it does not start with 'glTF'), or cut off")
    _, version, length = _HEAD.unpack_from(data)
    size, kind = _CHUNK.unpack_from(data, _HEAD.size)
    start = _HEAD.size + _CHUNK.size
    if version != 2 or length > len(data) or kind != _JSON or size > min(len(data) - start, _MOST_JSON):
        raise SceneFormatError(
            path, f"is of version {version}, {length} bytes long of which {len(data)} are there; it is damaged"
        )
    content = guarded.json_object(path, data[start : start + size], "description")
    start += size
    if start + _CHUNK.size > len(data):
        return content, b""
    size, kind = _CHUNK.unpack_from(data, start)
    start += _CHUNK.size
    if kind != _BIN or size > len(data) - start:
        raise SceneFormatError(path, f"claims {size} bytes of data, {len(data) - start} are there; copy it again")
    return content, data[start : start + size]


def _meshes(path: Path, content: dict[str, Any]) -> Iterator[tuple[dict[str, Any], Float64[np.ndarray, "4 4"]]]:
    """Each mesh that a node shows, and where; meshes of a file without nodes as they are."""
    nodes, meshes = (_dicts(path, content, name) for name in ("nodes", "meshes"))
    if len(nodes) > _MOST_NODES:
        raise SceneFormatError(path, f"has {len(nodes)} nodes, expected at most {_MOST_NODES}")
    if not nodes:
        yield from ((mesh, np.eye(4)) for mesh in meshes)
    if not all(isinstance(node.get("children", []), list) for node in nodes):
        raise SceneFormatError(path, "has a node whose children are no list; it is damaged")
    below = {child for node in nodes for child in node.get("children", ()) if isinstance(child, int)}
    waiting = [(i, np.eye(4), 0) for i in range(len(nodes)) if i not in below]
    seen = 0
    while waiting:
        number, above, depth = waiting.pop()
        seen += 1
        if seen > _MOST_NODES or depth > _MOST_DEPTH or not isinstance(number, int) or not 0 <= number < len(nodes):
            raise SceneFormatError(path, f"has a node {str(number)[:20]} that is not there, or is below itself")
        node = nodes[number]
        here = above @ _matrix(path, node)
        mesh = node.get("mesh")
        if mesh is not None:
            if not isinstance(mesh, int) or not 0 <= mesh < len(meshes):
                raise SceneFormatError(path, f"has a node with the mesh {str(mesh)[:20]} of {len(meshes)}")
            yield meshes[mesh], here
        waiting += [(child, here, depth + 1) for child in node.get("children", [])]


def _matrix(path: Path, node: dict[str, Any]) -> Float64[np.ndarray, "4 4"]:
    matrix = np.eye(4)
    if "matrix" in node:
        return _numbers(path, node, "matrix", [0.0] * 16).reshape(4, 4).T
    quat = np.roll(_numbers(path, node, "rotation", [0.0, 0.0, 0.0, 1.0]), 1)
    if not np.linalg.norm(quat) > 0:
        raise SceneFormatError(path, "has a node with a rotation of length 0; it is damaged")
    scale = _numbers(path, node, "scale", [1.0] * 3)
    matrix[:3, :3] = rotation_from_quat(quat / np.linalg.norm(quat)) * scale
    matrix[:3, 3] = _numbers(path, node, "translation", [0.0] * 3)
    return matrix


def _moved(path: Path, record: SplatRecord, matrix: Float64[np.ndarray, "4 4"]) -> SplatRecord:
    if np.array_equal(matrix, np.eye(4)):
        return record
    linear = matrix[:3, :3]
    scale = float(np.cbrt(np.linalg.det(linear)))
    if not (1e-12 < scale < 1e12 and np.allclose(linear @ linear.T, scale**2 * np.eye(3), atol=1e-4 * scale**2)):
        raise SceneFormatError(
            path, "has a node that shears, mirrors or scales unevenly; apply it to the Gaussians first"
        )
    turned = rotated(record, linear / scale)
    means = (turned.means.astype(np.float64) * scale + matrix[:3, 3]).astype(np.float32)
    try:
        return replace(turned, means=means, log_scales=turned.log_scales + np.float32(np.log(scale)))
    except ValueError as error:
        raise SceneFormatError(path, str(error)) from None


def _primitive(path: Path, content: dict[str, Any], data: bytes, primitive: dict[str, Any]) -> SplatRecord:
    if _dict(path, _dict(path, _dict(path, primitive, "extensions"), _EXTENSION), "extensions"):
        raise SceneFormatError(path, "is compressed by a further extension; convert it to plain KHR_gaussian_splatting")
    names = _dict(path, primitive, "attributes")

    def values(name: str, width: str) -> Float32[np.ndarray, "N W"]:
        return _accessor(path, content, data, names.get(name), name, width)

    degree = 0
    while degree < 3 and f"{_EXTENSION}:SH_DEGREE_{degree + 1}_COEF_0" in names:
        degree += 1
    sh = [values(f"{_EXTENSION}:SH_DEGREE_{d}_COEF_{n}", "VEC3") for d in range(degree + 1) for n in range(2 * d + 1)]
    scales, opacities = values(f"{_EXTENSION}:SCALE", "VEC3"), values(f"{_EXTENSION}:OPACITY", "SCALAR")[:, 0]
    logarithms = bool((scales < 0).any())
    if not ((opacities >= 0) & (opacities <= 1)).all():
        raise SceneFormatError(path, "has opacities beyond 0 to 1; they are to be those after the sigmoid")
    inside = opacities.astype(np.float64).clip(0.25 / 255, 1 - 0.25 / 255)
    quats = np.roll(values(f"{_EXTENSION}:ROTATION", "VEC4"), 1, axis=1)
    means = values("POSITION", "VEC3")
    if len({len(part) for part in (means, quats, scales, opacities, *sh)}) != 1:
        raise SceneFormatError(path, "has attributes of different lengths; it is damaged")
    try:
        return SplatRecord(
            means=means,
            quats=quats,
            log_scales=scales if logarithms else np.log(scales.astype(np.float64).clip(1e-37, None)).astype(np.float32),
            opacity_logits=np.log(inside / (1 - inside)).astype(np.float32),
            sh0=sh[0],
            shN=np.stack(sh[1:], axis=1) if degree else np.zeros((len(means), 0, 3), np.float32),
        )
    except ValueError as error:
        raise SceneFormatError(path, str(error)) from None


def _accessor(
    path: Path, content: dict[str, Any], data: bytes, number: Any, name: str, width: str
) -> Float32[np.ndarray, "N W"]:
    """The numbers of an attribute, those in normalised integers as fractions."""
    accessors, views = (_dicts(path, content, part) for part in ("accessors", "bufferViews"))
    if type(number) is not int or not 0 <= number < len(accessors):
        raise SceneFormatError(path, f"has no attribute {name}; write the scene again")
    said = accessors[number]
    kind, count, view = said.get("componentType"), said.get("count"), said.get("bufferView")
    if (
        said.get("type") != width
        or type(kind) is not int
        or kind not in _TYPES
        or "sparse" in said
        or type(view) is not int
    ):
        raise SceneFormatError(path, f"has {name} of type {str(said.get('type'))[:10]} and kind {str(kind)[:10]}")
    if not 0 <= view < len(views) or type(count) is not int or count < 1 or views[view].get("buffer") != 0:
        raise SceneFormatError(path, f"has {name} of {str(count)[:20]} rows in a buffer outside of the file")
    dtype, columns = np.dtype(_TYPES[kind]), _WIDTHS[width]
    first, length = views[view].get("byteOffset", 0), views[view].get("byteLength")
    offset, stride = said.get("byteOffset", 0), views[view].get("byteStride", columns * dtype.itemsize)
    if not all(type(x) is int and 0 <= x <= len(data) for x in (first, length, offset, stride)):
        raise SceneFormatError(path, f"has {name} at a place that is not in the file; it is damaged")
    row = columns * dtype.itemsize
    if stride < row or offset + (count - 1) * stride + row > length or first + length > len(data):
        raise SceneFormatError(path, f"has {count} rows of {name} in {length} bytes; it is truncated or damaged")
    whole = np.frombuffer(data, np.uint8, (count - 1) * stride + row, first + offset)
    rows = np.lib.stride_tricks.as_strided(whole, (count, row), (stride, 1))
    values: Float[np.ndarray, "N W"] = np.ascontiguousarray(rows).view(dtype).astype(np.float32)
    if dtype.kind != "f" and said.get("normalized") is True:
        values = (values / np.iinfo(dtype).max).clip(-1, 1).astype(np.float32)
    return values


def _numbers(path: Path, said: dict[str, Any], name: str, usual: list[float]) -> Float64[np.ndarray, "n"]:
    found = said.get(name, usual)
    plain = isinstance(found, list) and len(found) == len(usual)
    if not plain or not all(isinstance(x, int | float) and abs(x) < 1e30 for x in found):
        raise SceneFormatError(path, f"has a node whose {name} is not {len(usual)} finite numbers; it is damaged")
    return np.array(found, dtype=np.float64)


def _dict(path: Path, said: dict[str, Any], name: str) -> dict[str, Any]:
    found = said.get(name, {})
    if not isinstance(found, dict):
        raise SceneFormatError(path, f"has {name} that are no object; it is damaged")
    return found


def _dicts(path: Path, said: dict[str, Any], name: str) -> list[dict[str, Any]]:
    found = said.get(name, [])
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise SceneFormatError(path, f"has {name} that are no list of objects; it is damaged")
    return found
