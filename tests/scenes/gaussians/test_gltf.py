"""glTF: a round trip, what other readers find, nodes and integers of other writers, and every fault by name."""

import json
import struct
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

from neural.errors import SceneFormatError
from neural.scenes.files.gaussians import formats, gltf
from neural.scenes.files.gaussians.record import Placement
from tests.damage import EDITS, damaged
from tests.splat_files import assert_refused_or_valid, errors, made


def _split(path: Path) -> tuple[dict[str, Any], bytes]:
    data = path.read_bytes()
    size = struct.unpack_from("<I", data, 12)[0]
    return json.loads(data[20 : 20 + size]), data[28 + size :]


def _join(path: Path, content: Any, data: bytes) -> None:
    text = json.dumps(content).encode()
    text += b" " * (-len(text) % 4)
    head = struct.pack("<4sIIII", b"glTF", 2, 28 + len(text) + len(data), len(text), 0x4E4F534A)
    path.write_bytes(head + text + struct.pack("<II", len(data), 0x004E4942) + data)


@pytest.mark.parametrize("degree", range(4))
@pytest.mark.parametrize("axes", [None, "RDF"])
def test_round_trip(tmp_path: Path, degree: int, axes: str | None) -> None:
    record = replace(made(90, degree, antialiased=True), placement=Placement(0.5, "EPSG:4978", (1.0, 2.0, 3.0)))
    formats.write(tmp_path / "a.glb", record, axes=axes)
    got = formats.read(tmp_path / "a.glb")
    found = errors(got, record)
    assert found["means"].max() == found["sh0"].max() == found["shN"].max(initial=0) == 0
    assert found["log_scales"].max() < 1e-6 and found["opacities"].max() < 1e-6 and found["quats"].max() < 1e-6
    assert got.antialiased and got.placement == record.placement


def test_what_a_viewer_finds(tmp_path: Path) -> None:
    """LUF axes, scales that are lengths, x y z w, and bounds of the positions."""
    record = made(5, 1)
    gltf.write(tmp_path / "a.glb", record)
    content, data = _split(tmp_path / "a.glb")
    primitive = content["meshes"][0]["primitives"][0]
    assert primitive["mode"] == 0 and content["extensionsUsed"] == ["KHR_gaussian_splatting"]
    assert primitive["extensions"]["KHR_gaussian_splatting"]["colorSpace"] == "srgb_rec709_display"

    def values(name: str) -> np.ndarray:
        view = content["bufferViews"][content["accessors"][primitive["attributes"][name]]["bufferView"]]
        return np.frombuffer(data, "<f4", view["byteLength"] // 4, view["byteOffset"]).reshape(5, -1)

    np.testing.assert_array_equal(values("POSITION"), record.means * np.array([-1, -1, 1], np.float32))
    np.testing.assert_allclose(values("KHR_gaussian_splatting:SCALE"), np.exp(record.log_scales), rtol=1e-6)
    w = record.quats[:, 0] / np.linalg.norm(record.quats, axis=1)
    np.testing.assert_allclose(values("KHR_gaussian_splatting:ROTATION")[:, 3], w, atol=1e-6)
    np.testing.assert_array_equal(content["accessors"][0]["max"], values("POSITION").max(0))


def test_pygltflib_opens_it(tmp_path: Path) -> None:
    pygltflib = pytest.importorskip("pygltflib", reason="judged by pygltflib where it is there")
    gltf.write(tmp_path / "a.glb", made(9, 3))
    found = pygltflib.GLTF2().load(str(tmp_path / "a.glb"))
    assert found.accessors[0].count == 9 and len(found.accessors) == 6 + 15
    assert len(found.binary_blob()) == found.buffers[0].byteLength


def test_nodes_and_integers_of_other_writers(tmp_path: Path) -> None:
    """A node that turns, scales and moves; opacities in bytes; scales as logarithms, as in drafts."""
    record = replace(made(6, 2), log_scales=made(6, 2).log_scales - 2)
    path = tmp_path / "a.glb"
    gltf.write(path, record, axes="RDF")
    content, data = _split(path)
    del content["asset"]["extras"]
    half = float(np.sqrt(0.5))
    content["nodes"] = [
        {"children": [1], "translation": [1, 2, 3], "scale": [2, 2, 2]}, {"mesh": 0, "rotation": [0, 0, half, half]},
    ]  # fmt: skip
    steps = np.array([0, 51, 102, 153, 204, 255], np.uint8)
    names = content["meshes"][0]["primitives"][0]["attributes"]
    opacity = content["accessors"][names["KHR_gaussian_splatting:OPACITY"]]
    opacity |= {"componentType": 5121, "normalized": True}
    view = content["bufferViews"][opacity["bufferView"]]["byteOffset"]
    scale = content["bufferViews"][content["accessors"][names["KHR_gaussian_splatting:SCALE"]]["bufferView"]][
        "byteOffset"
    ]
    data = data[:view] + steps.tobytes() + data[view + 6 :]
    data = data[:scale] + record.log_scales.tobytes() + data[scale + record.log_scales.nbytes :]
    _join(path, content, data)
    got = gltf.read(path, axes="RDF")
    x, y, z = record.means.T
    np.testing.assert_allclose(got.means, np.stack([1 - 2 * y, 2 + 2 * x, 3 + 2 * z], axis=1), atol=1e-5)
    np.testing.assert_allclose(got.log_scales, record.log_scales + np.log(2), atol=1e-5)
    np.testing.assert_allclose(1 / (1 + np.exp(-got.opacity_logits[1:-1])), steps[1:-1] / 255, atol=1e-6)
    assert np.isfinite(got.opacity_logits).all()


def test_a_matrix_of_a_node_is_written_by_columns(tmp_path: Path) -> None:
    record = made(6, 1)
    gltf.write(tmp_path / "a.glb", record, axes="RDF")
    content, data = _split(tmp_path / "a.glb")
    content["nodes"] = [{"mesh": 0, "matrix": [0, 3, 0, 0, -3, 0, 0, 0, 0, 0, 3, 0, 7, 8, 9, 1]}]
    _join(tmp_path / "a.glb", content, data)
    x, y, z = record.means.T
    got = gltf.read(tmp_path / "a.glb")
    np.testing.assert_allclose(got.means, np.stack([7 - 3 * y, 8 + 3 * x, 9 + 3 * z], axis=1), atol=1e-5)
    np.testing.assert_allclose(got.log_scales, record.log_scales + np.log(3), atol=1e-5)


def _set(*place: Any, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        part: Any = content
        for name in place[:-1]:
            part = part[name]
        part[place[-1]] = value

    return change


_PRIMITIVE = ("meshes", 0, "primitives", 0)
FAULTS = {
    "no extension": (_set(*_PRIMITIVE, "extensions", value={}), "has no primitive with KHR_gaussian_splatting"),
    "compressed": (
        _set(*_PRIMITIVE, "extensions", "KHR_gaussian_splatting", value={"extensions": {"X": {}}}),
        "compressed by a further extension",
    ),
    "no positions": (_set(*_PRIMITIVE, "attributes", "POSITION", value=None), "no attribute POSITION"),
    "another type": (_set("accessors", 0, "type", value="VEC2"), "has POSITION of type VEC2"),
    "another kind": (_set("accessors", 0, "componentType", value=9), "has POSITION of type VEC3 and kind 9"),
    "sparse": (_set("accessors", 0, "sparse", value={}), "has POSITION of type"),
    "outside": (_set("bufferViews", 0, "buffer", value=1), "in a buffer outside of the file"),
    "too many": (_set("accessors", 0, "count", value=10**9), "1000000000 rows of POSITION"),
    "before the start": (_set("bufferViews", 0, "byteOffset", value=-4), "at a place that is not in the file"),
    "narrow": (_set("bufferViews", 0, "byteStride", value=1), "rows of POSITION in"),
    "short by a byte": (_set("bufferViews", 0, "byteLength", value=107), "9 rows of POSITION in 107 bytes"),
    "behind the end": (
        lambda content: content["bufferViews"][-1].update(byteOffset=content["bufferViews"][-1]["byteOffset"] + 1),
        "truncated or damaged",
    ),
    "fewer": (_set("accessors", 0, "count", value=3), "attributes of different lengths"),
    "a loop": (_set("nodes", value=[{"mesh": 0, "children": [1]}, {"children": [1]}]), "below itself"),
    "no such mesh": (_set("nodes", value=[{"mesh": 7}]), "the mesh 7 of 1"),
    "the mesh behind the last": (_set("nodes", value=[{"mesh": 1}]), "the mesh 1 of 1"),
    "a node before the first": (_set("nodes", value=[{"mesh": 0, "children": [-1]}]), "a node -1 that is not there"),
    "a thicket": (_set("nodes", value=[{"children": [i + 1] * 2} for i in range(60)] + [{}]), "below itself"),
    "a shear": (_set("nodes", value=[{"mesh": 0, "scale": [1, 2, 1]}]), "shears, mirrors or scales unevenly"),
    "a mirror": (_set("nodes", value=[{"mesh": 0, "scale": [-1, 1, 1]}]), "shears, mirrors"),
    "no turn": (_set("nodes", value=[{"mesh": 0, "rotation": [0, 0, 0, 0]}]), "rotation of length 0"),
    "half a place": (_set("nodes", value=[{"mesh": 0, "translation": [1]}]), "translation is not 3 finite"),
    "children of numbers": (_set("nodes", value=[{"mesh": 0, "children": 5}]), "children are no list"),
    "no children": (_set("nodes", value=[{"mesh": 0, "children": None}]), "children are no list"),
    "a list of kinds": (_set("accessors", 0, "componentType", value=[5126]), "has POSITION of type VEC3 and kind"),
    "true rows": (_set("accessors", 0, "count", value=True), "has POSITION of True rows"),
    "a bomb": (_set("nodes", value=[{"mesh": 0}] * 30_000), "claims to unpack to .* damaged or hostile"),
    "nodes of text": (_set("nodes", value="x"), "nodes that are no list"),
    "other kind": (_set("asset", value={"extras": {"model": "3"}}), "model of kind '3'"),
    "other axes": (_set("asset", value={"extras": {"axes": 3}}), "has axes '3'"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named(tmp_path: Path, fault: str) -> None:
    change, message = FAULTS[fault]
    gltf.write(tmp_path / "a.glb", made(9, 1))
    content, data = _split(tmp_path / "a.glb")
    change(content)
    _join(tmp_path / "a.glb", content, data)
    with pytest.raises(SceneFormatError, match=rf"a\.glb: .*{message}"):
        formats.read(tmp_path / "a.glb")


def test_containers_that_lie(tmp_path: Path) -> None:
    path = tmp_path / "a.glb"
    gltf.write(path, made(9, 1))
    data = path.read_bytes()
    for content, message in (
        (b"", "not a .glb"),
        (b"glTF", "not a .glb"),
        (data[:-5], "bytes long of which"),
        (data[:8] + struct.pack("<II", len(data), 1 << 31) + data[16:], "it is damaged"),
        (data[:8] + struct.pack("<II", len(data), len(data)) + data[16:], "it is damaged"),
        (data[:20] + b"\xff" + data[21:], "no JSON"),
    ):
        path.write_bytes(content)
        with pytest.raises(SceneFormatError, match=message):
            formats.read(path)


@settings(max_examples=200, deadline=None)
@given(edits=EDITS)
def test_damage_is_read_cleanly_or_refused(edits: list) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.glb"
        gltf.write(path, made(3, 1))
        path.write_bytes(damaged(path.read_bytes(), edits))
        assert_refused_or_valid(gltf.read, path)
