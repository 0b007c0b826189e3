"""Triangle meshes as `.glb`: float32 corners about an origin of their own, which the node says in full, and colours of
the corners or a texture.

Source: Khronos, glTF 2.0, sections 3.7 (meshes), 3.8 (textures) and 4.4 (GLB).
"""

import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64, UInt8
from PIL import Image

from neural.atomic import replacing
from neural.color import to_linear

QUALITY = 92  # of the texture, a JPEG


def write_mesh(
    path: Path,
    vertices: Float64[np.ndarray, "V 3"],
    faces: Int64[np.ndarray, "F 3"],
    rgb: UInt8[np.ndarray, "V 3"] | None = None,
    *,
    uv: Float[np.ndarray, "F 3 2"] | None = None,
    texture: UInt8[np.ndarray, "S S 3"] | None = None,
) -> None:
    """Write corners in the axes of the format (y up), triangles and sRGB; shown unlit where there are colours.

    Args:
        path: The file.
        vertices: Corners.
        faces: Triangles, counterclockwise seen from outside.
        rgb: Of the corners; left out where there is a texture.
        uv: Per corner of each triangle, from 0 at the left and at the top of the texture to 1.
        texture: With `uv`.
    """
    coordinates = None
    if uv is not None and texture is not None:
        vertices, faces, coordinates = _split(vertices, faces, uv)
        rgb = None
    middle = np.round((vertices.min(axis=0) + vertices.max(axis=0)) / 2)
    local = (vertices - middle).astype("<f4")
    arrays: list[tuple[np.ndarray, dict[str, Any]]] = [
        (faces.astype("<u4").reshape(-1), {"componentType": 5125, "type": "SCALAR"}),
        (local, {"componentType": 5126, "type": "VEC3", "min": local.min(0).tolist(), "max": local.max(0).tolist()}),
    ]
    pbr: dict[str, Any] = {"metallicFactor": 0.0}
    attributes, material = {"POSITION": 1}, {"doubleSided": True, "pbrMetallicRoughness": pbr}
    if rgb is not None:  # which the format has in linear light
        linear = to_linear(torch.from_numpy(rgb.astype(np.float64) / 255)).numpy()
        colors = np.full((len(rgb), 4), 65535, dtype="<u2")
        colors[:, :3] = np.rint(linear * 65535)
        arrays.append((colors, {"componentType": 5123, "type": "VEC4", "normalized": True}))
        attributes["COLOR_0"] = 2
    if coordinates is not None:
        arrays.append((coordinates.astype("<f4"), {"componentType": 5126, "type": "VEC2"}))
        attributes["TEXCOORD_0"] = 2
        pbr["baseColorTexture"] = {"index": 0}
    unlit = rgb is not None or coordinates is not None
    if unlit:
        material["extensions"] = {"KHR_materials_unlit": {}}
    content = {
        "asset": {"version": "2.0", "generator": "neural"},
        **({"extensionsUsed": ["KHR_materials_unlit"]} if unlit else {}),
        "scene": 0, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0, "translation": middle.tolist()}],
        "meshes": [{"primitives": [{"attributes": attributes, "indices": 0, "material": 0}]}], "materials": [material],
    }  # fmt: skip
    _write(path, content, arrays, None if coordinates is None else texture)


def _split(
    vertices: Float64[np.ndarray, "V 3"], faces: Int64[np.ndarray, "F 3"], uv: Float[np.ndarray, "F 3 2"]
) -> tuple[Float64[np.ndarray, "W 3"], Int64[np.ndarray, "F 3"], Float[np.ndarray, "W 2"]]:
    """Corners that have several places in the texture become several, as the format has one each."""
    places = np.ascontiguousarray(uv.reshape(-1, 2).astype("<f4")).view("<u8").reshape(-1)
    pairs = np.stack([faces.reshape(-1).astype(np.uint64), places], axis=1)
    _, first, index = np.unique(pairs, axis=0, return_index=True, return_inverse=True)
    return vertices[faces.reshape(-1)[first]], index.reshape(-1, 3), uv.reshape(-1, 2)[first]


def _write(
    path: Path, content: dict[str, Any], arrays: list[tuple[np.ndarray, dict[str, Any]]],
    texture: UInt8[np.ndarray, "S S 3"] | None,
) -> None:  # fmt: skip
    """The container: the indices, the attributes and the picture one after the other."""
    chunks, views, accessors, start = [], [], [], 0
    for i, (array, said) in enumerate(arrays):
        target = 34963 if i == 0 else 34962
        views.append({"buffer": 0, "byteOffset": start, "byteLength": array.nbytes, "target": target})
        accessors.append({"bufferView": i, "count": len(array), **said})
        chunks.append(np.ascontiguousarray(array).tobytes())
        start += array.nbytes
    if texture is not None:
        picture = io.BytesIO()
        Image.fromarray(texture).save(picture, "JPEG", quality=QUALITY, subsampling=0)
        views.append({"buffer": 0, "byteOffset": start, "byteLength": picture.tell()})
        content["images"] = [{"bufferView": len(arrays), "mimeType": "image/jpeg"}]
        content["textures"] = [{"source": 0}]
        chunks.append(picture.getvalue() + bytes(-picture.tell() % 4))
        start += len(chunks[-1])
    content |= {"buffers": [{"byteLength": start}], "bufferViews": views, "accessors": accessors}
    text = json.dumps(content, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    with replacing(path) as file:
        file.write(struct.pack("<4sII", b"glTF", 2, 28 + len(text) + start))
        file.write(struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", start, 0x004E4942))
        for chunk in chunks:
            file.write(chunk)
