"""Every untrusted-file rule: the file, the field and the remedy are named, nothing else is raised."""

import json
import struct
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neural.errors import SceneFormatError
from neural.scenes.files import ply
from neural.scenes.formats import colmap_binary, colmap_text
from neural.scenes.load import load
from tests.damage import EDITS, damaged, refused


def _frame(**fields):
    return lambda content: content["frames"][3].update(fields)


def _matrix(change):
    def spoil(content):
        matrix = np.array(content["frames"][3]["transform_matrix"])
        change(matrix)
        content["frames"][3]["transform_matrix"] = matrix.tolist()

    return spoil


JSON_FAULTS = {
    "NaN pose": (_matrix(lambda m: m.__setitem__((0, 3), np.nan)), r"view_03.*NaN"),
    "singular pose": (_matrix(lambda m: m.__setitem__((slice(3), 1), m[:3, 0])), r"view_03.*singular"),
    "left-handed pose": (_matrix(lambda m: m.__setitem__((slice(3), 0), -m[:3, 0])), r"view_03.*left-handed"),
    "pose of words": (_frame(transform_matrix=[["a"]]), r"frames\[3\]\.transform_matrix"),
    "no pose": (lambda c: c["frames"][3].pop("transform_matrix"), r"frames\[3\]\.transform_matrix"),
    "zero focal length": (_frame(fl_x=0), r"frames\[3\].*fl_x.*positive"),
    "NaN focal length": (_frame(fl_x=float("nan")), r"frames\[3\]\.fl_x"),
    "huge integer": (lambda c: c.update(fl_x=10**400), r"fl_x"),
    "focal length of words": (_frame(fl_x="wide"), r"frames\[3\]\.fl_x.*expected a number"),
    "impossible angle": (lambda c: (c.pop("fl_x"), c.update(camera_angle_x=4.0)), r"camera_angle_x.*radians"),
    "no focal length": (lambda c: (c.pop("fl_x"), c.pop("fl_y")), r"no focal length"),
    "absurd size": (lambda c: c.update(w=1e12), r"w h are"),
    "wrong size": (lambda c: c.update(w=21), r"view_00.*20 x 12.*21 x 12"),
    "unknown lens": (lambda c: c.update(camera_model="EQUIRECTANGULAR"), r"camera_model.*image_undistorter"),
    "ambiguous k4": (lambda c: c.update(k4=0.1), r"k4.*two meanings"),
    "no frames": (lambda c: c.update(frames=[]), r"frames.*empty"),
    "frames not a list": (lambda c: c.update(frames=3), r"no list 'frames'"),
    "no file path": (lambda c: c["frames"][3].pop("file_path"), r"frames\[3\]\.file_path"),
    "missing image": (_frame(file_path="images/gone.png"), r"1 of 9 images are missing.*skip"),
    "path far outside": (_frame(file_path="../../../etc/passwd"), r"frames\[3\]\.file_path.*outside"),
    "absolute path": (_frame(file_path="/etc/passwd"), r"outside the capture"),
    "NUL in path": (_frame(file_path="a\0b"), r"not a file name"),
    "mask outside": (_frame(mask_path="/etc/passwd"), r"mask_path.*outside"),
    "points outside": (lambda c: c.update(ply_file_path="/etc/passwd"), r"ply_file_path.*outside"),
    "frame twice": (lambda c: c["frames"].append(c["frames"][0]), r"listed twice"),
    "empty train split": (
        lambda c: c.update(train_filenames=[], test_filenames=["x"]),
        r"train split is empty",
    ),
    "split overlap": (
        lambda c: c.update(train_filenames=["images/view_00.png"], test_filenames=["images/view_00.png"]),
        r"train and the test",
    ),
    "mirroring transform": (lambda c: c.update(applied_scale=-1), r"applied_scale"),
    "box of words": (lambda c: c.update(aabb_scale="big"), r"aabb_scale"),
}


@pytest.mark.parametrize("fault", JSON_FAULTS)
def test_faults_of_transforms_json_are_named(tiny, fault):
    spoil, reason = JSON_FAULTS[fault]
    tiny.images(tiny.folder / "images")
    content = tiny.document()
    spoil(content)
    with pytest.raises(SceneFormatError, match=reason):
        load(tiny.json("transforms.json", content))


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"frames": ' + "1" * 5000 + "}", "\x00\xff"])
def test_text_that_is_not_a_capture_is_refused(tmp_path, text):
    (tmp_path / "transforms.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(SceneFormatError, match=r"transforms\.json"):
        load(tmp_path)


def test_a_path_beside_the_capture_is_allowed(tiny):
    tiny.images(tiny.folder.parent / "photos")
    scene = load(tiny.json("transforms.json", tiny.document("../photos/")))
    assert len(scene.images) == 9


def test_unknown_folders_list_what_is_supported(tmp_path):
    with pytest.raises(SceneFormatError, match=r"(?s)supported are.*nerfstudio.*COLMAP"):
        load(tmp_path)
    with pytest.raises(SceneFormatError, match="no such file"):
        load(tmp_path / "nowhere")


def test_a_single_image_leaves_no_training_split_unless_asked(tiny):
    tiny.images(tiny.folder / "images")
    content = tiny.document()
    content["frames"] = content["frames"][:1]
    folder = tiny.json("transforms.json", content)
    with pytest.raises(SceneFormatError, match="train split is empty"):
        load(folder)
    assert load(folder, test_every=0).splits == {"train": (0,), "test": ()}


def test_truncated_and_foreign_images_are_named(tiny):
    tiny.nerfstudio()
    file = tiny.folder / "images" / tiny.names[2]
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SceneFormatError, match=r"view_02.*(truncated|damaged)"):
        load(tiny.folder).images[0]
    file.write_bytes(b"not an image")
    with pytest.raises(SceneFormatError, match=r"view_02.*not an image"):
        load(tiny.folder)


@pytest.mark.parametrize("count", [2**63, 2**40, 10_000])
@pytest.mark.parametrize("part", ["cameras", "images", "points3D"])
def test_absurd_counts_are_refused_before_allocation(tiny, part, count):
    tiny.colmap_binary()
    file = tiny.folder / "sparse/0" / f"{part}.bin"
    file.write_bytes(struct.pack("<Q", count) + file.read_bytes()[8:])
    tracemalloc.start()
    with pytest.raises(SceneFormatError, match=rf"{part}\.bin: claims {count}.*at most"):
        load(tiny.folder)
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


@pytest.mark.parametrize("lens", ["FOV", "THIN_PRISM_FISHEYE", "HOLOGRAM"])
def test_colmap_lenses_that_we_lack_name_the_remedy(tiny, lens):
    tiny.colmap_text()
    (tiny.folder / "sparse/0/cameras.txt").write_text(f"3 {lens} 20 12 24 9 6 0 0\n")
    with pytest.raises(SceneFormatError, match=rf"{lens} is not supported.*image_undistorter"):
        load(tiny.folder)


def test_a_lens_number_that_colmap_does_not_have_is_refused(tiny):
    tiny.colmap_binary()
    file = tiny.folder / "sparse/0/cameras.bin"
    data = file.read_bytes()
    for number in (-1, 99):
        file.write_bytes(data[:12] + struct.pack("<i", number) + data[16:])
        with pytest.raises(SceneFormatError, match=rf"cameras\.bin: .*{number}"):
            load(tiny.folder)


def test_colmap_text_faults_name_the_line(tiny):
    tiny.colmap_text()
    file = tiny.folder / "sparse/0/images.txt"
    good = file.read_text()
    for old, new, reason in (
        ("1.5 2.5 100", "1.5 2.5", r"line 2.*triples"),
        (" 3 view_00.png", " 7 view_00.png", "camera 7"),
        ("view_00.png", "../../../../etc/passwd", "outside"),
        ("view_00.png", "view_01.png", "listed twice"),
    ):
        file.write_text(good.replace(old, new, 1))
        with pytest.raises(SceneFormatError, match=reason):
            load(tiny.folder)


def test_colmap_zero_quaternion_and_zero_focal_length(tiny):
    tiny.colmap_text()
    file = tiny.folder / "sparse/0/images.txt"
    good = file.read_text()
    lines = good.split("\n")
    words = lines[1].split()
    lines[1] = " ".join([words[0], "0", "0", "0", "0", *words[5:]])
    file.write_text("\n".join(lines))
    with pytest.raises(SceneFormatError, match=r"view_00.*quaternion"):
        load(tiny.folder)
    file.write_text(good)
    (tiny.folder / "sparse/0/cameras.txt").write_text("3 PINHOLE 20 12 0 25 9 6\n")
    with pytest.raises(SceneFormatError, match=r"view_00.*focal lengths"):
        load(tiny.folder)


def test_points_that_are_not_finite_are_dropped_with_a_warning(tiny):
    tiny.nerfstudio()
    xyz = tiny.xyz.copy()
    xyz[3, 1] = np.nan
    ply.write_points(tiny.folder / "points.ply", xyz, tiny.rgb)
    scene = load(tiny.folder)
    assert len(scene.points) == 10
    assert "1 of 11 points" in scene.warnings[0]


def _valid_files() -> dict[str, tuple]:
    pose = struct.pack("<i7di", 1, 1, 0, 0, 0, 0, 0, 4, 3)
    xyz, rgb = np.arange(9.0).reshape(3, 3), np.arange(9, dtype=np.uint8).reshape(3, 3)
    with tempfile.TemporaryDirectory() as folder:
        ply.write_points(Path(folder) / "p.ply", xyz, rgb)
        binary = (Path(folder) / "p.ply").read_bytes()
    header = b"ply\nformat ascii 1.0\nelement face 1\nproperty list uchar int v\nelement vertex 2\n"
    text = header + b"property float x\nproperty float y\nproperty float z\nend_header\n3 0 1 2\n1 2 3\n4 5 6\n"
    lists = text.split(b"end_header\n")[0].replace(b"ascii", b"binary_little_endian") + b"end_header\n"
    return {
        "cameras.bin": (colmap_binary.read_cameras, struct.pack("<QiiQQ4d", 1, 3, 1, 20, 12, 24, 25, 9, 6)),
        "images.bin": (
            colmap_binary.read_images,
            struct.pack("<Q", 1) + pose + b"a.png\0" + struct.pack("<Qddq", 1, 1, 2, 5),
        ),
        "points3D.bin": (
            colmap_binary.read_points,
            struct.pack("<QQ3d3BdQii", 1, 5, 1, 2, 3, 4, 5, 6, 0.5, 1, 1, 0),
        ),
        "images.txt": (colmap_text.read_images, b"1 1 0 0 0 0 0 4 3 a.png\n1.5 2.5 5\n"),
        "points3D.txt": (colmap_text.read_points, b"5 1 2 3 4 5 6 0.5 1 0\n"),
        "binary.ply": (ply.read_points, binary),
        "text.ply": (ply.read_points, text),
        "lists.ply": (ply.read_points, lists + struct.pack("<B3i6f", 3, 0, 1, 2, 1, 2, 3, 4, 5, 6)),
    }


FILES = _valid_files()


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=150, deadline=2000)
@given(edits=EDITS)
def test_damaged_files_are_read_or_refused(name, edits):
    reader, valid = FILES[name]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / name
        file.write_bytes(valid)
        reader(file)
        file.write_bytes(damaged(valid, edits))
        tracemalloc.start()
        refused(reader, file, lambda read: read is not None)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2e6


@settings(max_examples=100, deadline=2000)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.integers(),
        lambda inner: st.lists(inner, max_size=4),
        max_leaves=20,
    ),
    st.sampled_from(
        [
            "frames",
            "fl_x",
            "w",
            "camera_model",
            "k1",
            "applied_transform",
            "applied_scale",
            "aabb_scale",
            "offset",
            "ply_file_path",
            "train_filenames",
            "transform_matrix",
            "file_path",
            "mask_path",
            "is_fisheye",
        ]
    ),
)
def test_any_value_in_any_field_is_read_or_refused(value, key):
    from PIL import Image

    with tempfile.TemporaryDirectory() as folder:
        for name in "abc":
            Image.new("RGB", (4, 3)).save(Path(folder) / f"{name}.png")
        frames = [{"file_path": f"{name}.png", "transform_matrix": np.eye(4).tolist()} for name in "abc"]
        content = {"fl_x": 4.0, "w": 4, "h": 3, "frames": frames}
        (frames[1] if key in ("transform_matrix", "file_path", "mask_path") else content)[key] = value
        (Path(folder) / "transforms.json").write_text(json.dumps(content))
        refused(load, Path(folder), lambda scene: len(scene.images) == 3)
