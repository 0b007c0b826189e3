"""Triangle meshes as `.glb`: float32 corners about an origin of their own, which the node says in full, and colours.

Source: Khronos, glTF 2.0, sections 3.7 (meshes) and 4.4 (GLB).
"""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, Int64, UInt8

from neural.atomic import replacing
from neural.color import to_linear


def write_mesh(
    path: Path,
    vertices: Float64[np.ndarray, "V 3"],
    faces: Int64[np.ndarray, "F 3"],
    rgb: UInt8[np.ndarray, "V 3"] | None = None,
) -> None:
    """Write corners in the axes of the format (y up), triangles and sRGB; shown unlit where there are colours."""
    middle = np.round((vertices.min(axis=0) + vertices.max(axis=0)) / 2)
    local = (vertices - middle).astype("<f4")
    arrays: list[tuple[np.ndarray, dict[str, Any]]] = [
        (faces.astype("<u4").reshape(-1), {"componentType": 5125, "type": "SCALAR"}),
        (local, {"componentType": 5126, "type": "VEC3", "min": local.min(0).tolist(), "max": local.max(0).tolist()}),
    ]
    attributes, material = {"POSITION": 1}, {"doubleSided": True, "pbrMetallicRoughness": {"metallicFactor": 0.0}}
    if rgb is not None:  # which the format has in linear light
        linear = to_linear(torch.from_numpy(rgb.astype(np.float64) / 255)).numpy()
        colors = np.full((len(rgb), 4), 65535, dtype="<u2")
        colors[:, :3] = np.rint(linear * 65535)
        arrays.append((colors, {"componentType": 5123, "type": "VEC4", "normalized": True}))
        attributes["COLOR_0"] = 2
        material["extensions"] = {"KHR_materials_unlit": {}}
    views, accessors, start = [], [], 0
    for i, (array, said) in enumerate(arrays):
        target = 34963 if i == 0 else 34962
        views.append({"buffer": 0, "byteOffset": start, "byteLength": array.nbytes, "target": target})
        accessors.append({"bufferView": i, "count": len(array), **said})
        start += array.nbytes
    content = {
        "asset": {"version": "2.0", "generator": "neural"},
        **({"extensionsUsed": ["KHR_materials_unlit"]} if rgb is not None else {}),
        "scene": 0, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0, "translation": middle.tolist()}],
        "meshes": [{"primitives": [{"attributes": attributes, "indices": 0, "material": 0}]}], "materials": [material],
        "buffers": [{"byteLength": start}], "bufferViews": views, "accessors": accessors,
    }  # fmt: skip
    text = json.dumps(content, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    with replacing(path) as file:
        file.write(struct.pack("<4sII", b"glTF", 2, 28 + len(text) + start))
        file.write(struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", start, 0x004E4942))
        for array, _ in arrays:
            file.write(np.ascontiguousarray(array).tobytes())
