"""Meshes in files: every form of the same cube, real ones, and every fault named."""

import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neural.errors import SceneFormatError
from neural.scenes.files import mesh, ply
from neural.scenes.files.mesh import Mesh
from tests.damage import EDITS, damaged, refused

CORNERS = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], np.float64)
# Two sides as triangles, four as quadrangles.
SIDES = [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
TRIANGLES = [part for side in SIDES for part in ([side[:3]] if len(side) == 3 else [side[:3], [side[0], *side[2:]]])]
RGB = (CORNERS * [200, 100, 50] + 5).astype(np.uint8)


def _obj(colors: bool = True, face: str = "{0}") -> str:
    """`face` writes a corner of number 0 to 7."""
    lines = ["# a cube", "mtllib none.mtl", "o cube"]
    for xyz, rgb in zip(CORNERS, RGB, strict=True):
        words = [*xyz, *(rgb / 255 if colors else [])]
        lines.append("v " + " ".join(f"{word:.9g}" for word in words))
    lines += ["vt 0 0", "vn 0 0 1", "s off"]
    lines += ["f " + " ".join(face.format(i + 1, i - 8) for i in side) for side in SIDES]
    return "\n".join(lines) + "\n"


def _ply(form: str, colors: bool = True, name: str = "vertex_indices", count: str = "uchar") -> bytes:
    header = ["ply", f"format {form} 1.0", f"element vertex {len(CORNERS)}", *(f"property float {a}" for a in "xyz")]
    header += [f"property uchar {c}" for c in ("red", "green", "blue") if colors]
    header += [f"element face {len(SIDES)}", "property uchar flags", f"property list {count} int {name}"]
    header += ["property list uchar float texcoord", "element edge 1", "property int vertex1", "end_header\n"]
    if form == "ascii":
        rows = [" ".join(map(str, [*xyz, *(rgb if colors else [])])) for xyz, rgb in zip(CORNERS, RGB, strict=True)]
        rows += [" ".join(map(str, [7, len(side), *side, 2, 0.5, 1.5])) for side in SIDES]
        return "\n".join([*header[:-1], "end_header", *rows, "0"]).encode()
    order = ">" if "big" in form else "<"
    letter = {"uchar": "B", "int": "i"}[count]
    body = b""
    for xyz, rgb in zip(CORNERS, RGB, strict=True):
        body += struct.pack(f"{order}3f", *xyz) + (rgb.tobytes() if colors else b"")
    for side in SIDES:
        body += struct.pack(f"{order}B{letter}{len(side)}iB2f", 7, len(side), *side, 2, 0.5, 1.5)
    return "\n".join(header).encode() + body + struct.pack(f"{order}i", 0)


def _without_edges(form: str) -> bytes:
    data = _ply(form).replace(b"element edge 1\nproperty int vertex1\n", b"")
    return data.removesuffix(b"\n0") if form == "ascii" else data[:-4]


def _check(read: Mesh, colors: bool) -> None:
    np.testing.assert_array_equal(read.vertices, CORNERS)
    np.testing.assert_array_equal(read.faces, TRIANGLES)
    np.testing.assert_array_equal(read.rgb, RGB if colors else np.full_like(RGB, 128))
    assert mesh.areas(read.vertices, read.faces).sum() == pytest.approx(6)


@pytest.mark.parametrize("colors", [True, False])
@pytest.mark.parametrize("face", ["{0}", "{0}/1", "{0}/1/1", "{0}//1", "{1}", "{1}/-1/-1"])
def test_every_way_to_write_an_obj(tmp_path: Path, colors: bool, face: str) -> None:
    path = tmp_path / "a.obj"
    path.write_text(_obj(colors, face))
    _check(mesh.read(path), colors)
    path.write_bytes(_obj(colors, face).replace("f ", "f \\\n").replace("\n", "\r\n").encode())
    _check(mesh.read(path), colors)


@pytest.mark.parametrize("form", ["binary_little_endian", "binary_big_endian", "ascii"])
@pytest.mark.parametrize("count", ["uchar", "int"])
def test_every_way_to_write_a_ply(tmp_path: Path, form: str, count: str) -> None:
    path = tmp_path / "a.ply"
    for colors in (True, False):
        for name in ("vertex_indices", "vertex_index"):
            path.write_bytes(_ply(form, colors, name, count))
            _check(mesh.read(path), colors)


def test_long_runs_of_faces_of_any_kind(tmp_path: Path) -> None:
    """More rows than are looked at together, with changes of length anywhere."""
    rng = np.random.default_rng(0)
    lengths = np.concatenate([np.full(3000, 3), rng.integers(3, 6, 300), np.full(500, 4), [3], np.full(70, 5)])
    lists = [rng.integers(0, 50, n).tolist() for n in lengths]
    header = ["ply", "format binary_little_endian 1.0", f"element face {len(lists)}"]
    header += ["property list uchar int vertex_indices", "property float quality", "end_header\n"]
    body = b"".join(struct.pack(f"<B{len(row)}if", len(row), *row, 0.25) for row in lists)
    (tmp_path / "a.ply").write_bytes("\n".join(header).encode() + body)
    counts, values = ply.read_lists(tmp_path / "a.ply", "face", ["vertex_indices"])
    np.testing.assert_array_equal(counts, lengths)
    np.testing.assert_array_equal(values, np.concatenate(lists))


@pytest.mark.parametrize(
    ("name", "corners", "triangles"),
    [
        ("armadillo", 49_990, 99_976),
        ("stanford-bunny", 34_834, 69_451),
        ("fandisk", 6_475, 12_946),
        ("spot", 2_930, 5_856),
    ],
)
def test_real_meshes(neural_data: Path, name: str, corners: int, triangles: int) -> None:
    read = mesh.read(neural_data / "meshes" / f"{name}.obj")
    assert len(read.faces) == triangles
    assert len(np.unique(read.vertices[read.faces].reshape(-1, 3), axis=0)) == corners


FAULTS = {
    "no faces": (lambda t: t.split("vt")[0], r"8 corners but no faces"),
    "empty": (lambda t: "", r"0 corners but no faces"),
    "missing corner": (lambda t: t + "f 1 2 99\n", r"the corners \[0, 1, 98\], counted from 0, but there are 8"),
    "corner 0": (lambda t: t + "f 0 1 2\nv 9 9 9\n", r"line 23 is b?'f 0 1 2', expected .* counted from 1"),
    "before the first": (lambda t: t + "f -99 1 2\n", r"the corners \[-91, 0, 1\]"),
    "two corners": (lambda t: t + "f 1 2\n", r"line 23 is b?'f 1 2', expected three corners"),
    "no number": (lambda t: t + "f 1 2 x\n", r"line 23 .* expected three corners"),
    "beyond 64 bits": (lambda t: t + f"f 1 2 {10**30}\n", r"beyond 64 bits"),
    "two coordinates": (lambda t: t + "v 1 2\n", r"line 23 .* expected x y z"),
    "NaN": (lambda t: t.replace("v 0 1 0", "v 0 nan 0"), r"corner 2 is at \[0\.0, nan, 0\.0\] \(1 such corners\)"),
    "infinite": (lambda t: t.replace("v 0 1 0", "v 0 1e999 0"), r"corner 2 is at \[0\.0, inf"),
    "no area": (lambda t: t.split("f ")[0] + "f 1 2 2\nf 1 1 2\n", r"2 triangles have an area of 0"),
    "endless area": (lambda t: t.replace("v 0 1 0", "v 0 1e300 0"), r"have an area of inf"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named(tmp_path: Path, fault: str) -> None:
    change, message = FAULTS[fault]
    path = tmp_path / "a.obj"
    path.write_text(change(_obj()))
    with pytest.raises(SceneFormatError, match=rf"a\.obj: .*{message}"):
        mesh.read(path)


def test_faults_of_a_ply_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.ply"
    whole = _ply("binary_little_endian")
    for data, message in (
        (whole[:-30], "element face claims 8 rows but the file holds only 7"),
        (whole.replace(b"face 8", b"face 999999999999"), "claims 999999999999 rows"),
        (_without_edges("ascii").replace(b"face 8", b"face 6"), r"goes on .* after the 6 rows .* element face"),
        (_without_edges("binary_big_endian").replace(b"face 8", b"face 7"), r"goes on for 27 bytes after the 7 rows"),
        (
            whole.replace(b"vertex_indices", b"corner_indices"),
            r"the lists \['corner_indices'\], expected vertex_indices",
        ),
        (whole.replace(b"element face 8", b"element side 8"), r"elements \['vertex', 'side', 'edge'\], expected face"),
        (_ply("ascii").replace(b"7 3 0 1 3", b"7 3 0 1.5 3"), "row 0 of element face .* expected whole numbers"),
        (_ply("ascii").replace(b"7 3 0 1 3 2", b"7 9 0 1 3 2"), "row 0 of element face"),
        (_ply("ascii").replace(b"7 3 0 1 3 2 0.5 1.5", b"7 3 0 1 3 2 0.5 1.5 9"), "row 0 of element face"),
        (_ply("ascii").replace(b"0.0 0.0 1.0 ", b"0.0 0.0 1.0 3 "), "row 1 of element vertex .* expected 6 numbers"),
        (_ply("ascii").replace(b"7 3 0 1 3", b"7 3 0 1 99999999999999999999"), "beyond 64 bits"),
    ):
        path.write_bytes(data)
        with pytest.raises(SceneFormatError, match=rf"a\.ply: .*{message}"):
            mesh.read(path)
    with pytest.raises(SceneFormatError, match=r"gone\.obj: cannot be read: No such file"):
        mesh.read(tmp_path / "gone.obj")


SOURCES = {"obj": _obj().encode(), "ascii": _ply("ascii"), "big": _ply("binary_big_endian", count="int")}


@settings(max_examples=300, deadline=None)
@given(kind=st.sampled_from(sorted(SOURCES)), edits=EDITS)
def test_damage_is_read_cleanly_or_refused(kind: str, edits: list) -> None:
    """No other exception, no warning, and never a mesh on which nothing can lie."""

    def sound(read: Mesh) -> bool:
        return bool(np.isfinite(read.vertices).all() and mesh.areas(read.vertices, read.faces).sum() > 0)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("a.obj" if kind == "obj" else "a.ply")
        path.write_bytes(damaged(SOURCES[kind], edits))
        refused(mesh.read, path, sound)
