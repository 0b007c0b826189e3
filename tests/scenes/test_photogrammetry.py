"""Metashape's XML and RealityCapture's CSV: angles, lenses by the programs' own formulas, frames, and bad files."""

import json

import numpy as np
import pytest
import torch

from neural.errors import SceneFormatError
from neural.poses import quat_from_rotation
from neural.scenes.load import load
from tests.scenes.formats import (
    HEIGHT,
    NAMES,
    POINTS,
    WIDTH,
    N,
    assert_projects,
    camera_points,
    fuzz,
    poses,
    write_images,
)

# --- Metashape ------------------------------------------------------------------------------------------------------

FRAME = {
    "f": 45.0, "cx": 0.7, "cy": -0.9, "b1": 1.5, "k1": -0.08, "k2": 0.02, "k3": -0.004, "p1": 0.006, "p2": -0.009
}  # fmt: skip
FISHEYE = {"f": 45.0, "cx": 0.7, "cy": -0.9, "b1": 1.5, "k1": -0.05, "k2": 0.01, "k3": 0.004, "k4": -0.002}
TURN = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])
CRS = 'GEOGCS["WGS 84",DATUM["World Geodetic System 1984"]]'


def xml(kind="frame", lens=None, transform=True, reference=CRS):
    values = "".join(f"<{k}>{v!r}</{k}>" for k, v in (lens or (FRAME if kind == "frame" else FISHEYE)).items())
    calibration = f'<resolution width="{WIDTH}" height="{HEIGHT}"/>{values}'
    cameras = "".join(
        f'<camera id="{i}" sensor_id="4" component_id="0" label="{name.removesuffix(".png")}">'
        f"<transform>{' '.join(map(repr, c2w.reshape(-1).tolist()))}</transform></camera>"
        for i, (name, c2w) in enumerate(zip(NAMES, poses(), strict=True))
    )
    world = (
        f"<transform><rotation>{' '.join(map(repr, TURN.reshape(-1).tolist()))}</rotation>"
        "<translation>4201000.5 168000.25 4780000.75</translation><scale>2.5</scale></transform>"
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?><document version="2.0.0"><chunk label="Chunk 1" enabled="true">'
        f'<sensors next_id="5"><sensor id="4" label="cam" type="{kind}"><resolution width="1" height="1"/>'
        f'<calibration type="{kind}" class="initial"><f>1</f></calibration>'
        f'<calibration type="{kind}" class="adjusted">{calibration}</calibration></sensor></sensors>'
        f'<components next_id="1"><component id="0">{world if transform else ""}</component></components>'
        f'<cameras><group id="0" label="a">{cameras}</group>'
        '<camera id="70" sensor_id="4" label="not_aligned"/></cameras>'
        f"<reference>{reference}</reference></chunk></document>"
    )


@pytest.fixture
def metashape(tmp_path):
    write_images(tmp_path / "images")
    (tmp_path / "cameras.xml").write_text(xml())
    return tmp_path


def metashape_pixels(kind):
    """The manual's appendix, term by term."""
    lens = dict.fromkeys(("k1", "k2", "k3", "k4", "p1", "p2"), 0.0) | (FRAME if kind == "frame" else FISHEYE)
    result = []
    for c2w in poses():
        x, y, z = camera_points(c2w).T
        x, y = x / z, y / z
        if kind != "frame":
            r0 = np.hypot(x, y)
            x, y = x * np.arctan(r0) / r0, y * np.arctan(r0) / r0
        r = np.hypot(x, y)
        radial = 1 + lens["k1"] * r**2 + lens["k2"] * r**4 + lens["k3"] * r**6 + lens["k4"] * r**8
        xd = x * radial + (lens["p1"] * (r**2 + 2 * x**2) + 2 * lens["p2"] * x * y)
        yd = y * radial + (lens["p2"] * (r**2 + 2 * y**2) + 2 * lens["p1"] * x * y)
        u = WIDTH * 0.5 + lens["cx"] + xd * lens["f"] + xd * lens["b1"]
        v = HEIGHT * 0.5 + lens["cy"] + yd * lens["f"]
        result.append(np.stack([u, v], axis=1))
    return result


@pytest.mark.parametrize("kind", ["frame", "fisheye"])
def test_metashape_lenses(metashape, kind):
    (metashape / "cameras.xml").write_text(xml(kind))
    scene = load(metashape)
    assert_projects(scene.cameras, metashape_pixels(kind))
    assert scene.image_names == tuple(name.removesuffix(".png") for name in NAMES)
    assert "1 of 10 cameras are not aligned" in scene.warnings[0]


def test_metashape_world(metashape):
    scene = load(metashape)
    geocentric = np.linalg.inv(scene.world_to_scene) @ [1.0, 2.0, 3.0, 1.0]
    np.testing.assert_allclose(geocentric[:3], 2.5 * TURN @ [1, 2, 3] + [4201000.5, 168000.25, 4780000.75], atol=1e-6)
    assert scene.metres_per_unit == 2.5
    assert scene.crs == "EPSG:4978"
    (metashape / "cameras.xml").write_text(xml(reference='LOCAL_CS["Local Coordinates (m)"]'))
    assert (load(metashape).metres_per_unit, load(metashape).crs) == (2.5, None)
    (metashape / "cameras.xml").write_text(xml(transform=False))
    assert (load(metashape).metres_per_unit, load(metashape).crs) == (None, None)
    np.testing.assert_array_equal(load(metashape).world_to_scene, np.eye(4))


def test_metashape_takes_the_largest_component(metashape):
    text = (metashape / "cameras.xml").read_text()
    (metashape / "cameras.xml").write_text(text.replace('component_id="0"', 'component_id="1"', 2))
    scene = load(metashape)
    assert len(scene.cameras) == N - 2
    assert "2 cameras are in other components" in scene.warnings[1]


def test_metashape_photographs_in_folders(metashape):
    (metashape / "images" / "flight 1").mkdir()
    (metashape / "images" / NAMES[3]).rename(metashape / "images" / "flight 1" / NAMES[3])
    assert len(load(metashape).cameras) == N
    write_images(metashape / "images" / "flight 2", (NAMES[3],))
    with pytest.raises(SceneFormatError, match=r"view_03.*may be .*flight 1.*flight 2"):
        load(metashape)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("<f>45.0</f>", "", r"no focal length <f>"),
        ("<f>45.0</f>", "<f>wide</f>", r"sensor 'cam'.*wide"),
        ("<f>45.0</f>", "<f>nan</f>", r"sensor 'cam'.*finite"),
        ("<f>45.0</f>", "<f>-45</f>", r"focal lengths"),
        ("<k1>", "<k4>0.5</k4><k1>", r"K4 moves pixels.*undistorted"),
        ("<k1>", "<b2>2.5</b2><k1>", r"B2 moves pixels"),
        ("<k1>", "<p3>5</p3><k1>", r"P3 P4 moves pixels"),
        ('type="frame"', 'type="spherical"', r"'spherical'.*do not have"),
        ('width="40"', 'width="forty"', r"resolution.*forty"),
        ('width="40"', 'width="41"', r"40 x 30.*41 x 30"),
        ('sensor_id="4"', 'sensor_id="9"', r"view_00.*sensor 9 is not listed"),
        ('label="view_03"', 'label="gone"', r"1 of 9 images are missing.*gone"),
        ('label="view_03"', 'label=".."', r"not a file name"),
        ("<scale>2.5</scale>", "<scale>0</scale>", r"transform.*scale 0"),
        ("<rotation>", "<rotation>7 ", r"transform.*9 finite"),
        ("</chunk>", "", r"not valid XML.*cut off"),
        ("<document", '<!DOCTYPE d [<!ENTITY a "b">]><document', r"declares a document type"),
    ],
)
def test_metashape_faults_are_named(metashape, old, new, reason):
    text = (metashape / "cameras.xml").read_text()
    assert old in text
    (metashape / "cameras.xml").write_text(text.replace(old, new))
    with pytest.raises(SceneFormatError, match=reason):
        load(metashape)


def test_metashape_entities_do_not_hide_in_another_encoding(metashape):
    bait = b"<document<chunk>" + b" " * 16  # an even number of bytes: one character for two in UTF-16
    head = '<?xml version="1.0" encoding="UTF-16"?><!--'.encode("utf-16")
    rest = f"--><!DOCTYPE document [<!ENTITY a '{'b' * 99}'>]>{xml().split('?>')[1]}".encode("utf-16-le")
    (metashape / "cameras.xml").write_bytes(head + bait + rest)
    with pytest.raises(SceneFormatError, match=r"cameras\.xml: is not UTF-8"):
        load(metashape)


def test_a_term_that_moves_nothing_is_no_reason_to_refuse(metashape):
    (metashape / "cameras.xml").write_text(xml(lens={**FRAME, "b2": 0.01, "k4": 1e-4}))
    assert_projects(load(metashape).cameras, metashape_pixels("frame"))


def test_two_exports_in_one_folder_are_named(metashape):
    (metashape / "older.xml").write_text(xml())
    with pytest.raises(SceneFormatError, match=r"cameras\.xml.*older\.xml.*by the path"):
        load(metashape)
    assert len(load(metashape / "older.xml").cameras) == N


def test_metashape_damaged(metashape):
    assert fuzz(metashape, [metashape / "cameras.xml"], rounds=120) > 60


# --- RealityCapture -------------------------------------------------------------------------------------------------

HEADER = "#name,x,y,alt,heading,pitch,roll,f,px,py,k1,k2,k3,k4,t1,t2"
LENS = {"f": 41.0, "px": 0.02, "py": -0.03, "k1": -0.08, "k2": 0.02, "k3": -0.004, "k4": 0.0, "t1": 0.006, "t2": -0.009}


def angles(c2w):
    """Heading, pitch, roll in degrees, found by turning the camera until it looks down with its top to the north."""
    right, down, forward = c2w[:3, :3].T
    up, back = -down, -forward
    pitch = np.arcsin(np.clip(up[2], -1, 1))
    heading = np.arctan2(up[0], up[1])  # where the image's top points, clockwise from north
    roll = np.arctan2(-right[2], back[2])
    return np.degrees([heading, pitch, roll])


def table(**lens):
    values = {**LENS, **lens}
    lines = [HEADER]
    for name, c2w in zip(NAMES, poses(), strict=True):
        row = [*c2w[:3, 3], *angles(c2w), *values.values()]
        lines.append(",".join([name, *(f"{v:.15g}" for v in row)]))
    return "\n".join(lines) + "\n"


@pytest.fixture
def realitycapture(tmp_path):
    write_images(tmp_path / "images")
    (tmp_path / "export.csv").write_text(table())
    return tmp_path


def test_realitycapture_angles_and_lens(realitycapture):
    result = []
    for c2w in poses():
        x, y, z = camera_points(c2w).T
        x, y = x / z, y / z
        r2 = x**2 + y**2
        radial = 1 + LENS["k1"] * r2 + LENS["k2"] * r2**2 + LENS["k3"] * r2**3
        p1, p2 = LENS["t2"], LENS["t1"]  # the program's template for OpenCV writes k1, k2, t2, t1, k3
        u = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x**2)
        v = y * radial + p1 * (r2 + 2 * y**2) + 2 * p2 * x * y
        scaled = np.stack([LENS["f"] / 36 * u + LENS["px"], LENS["f"] / 36 * v + LENS["py"]], axis=1)
        result.append(scaled * WIDTH + [WIDTH / 2, HEIGHT / 2])
    scene = load(realitycapture)
    np.testing.assert_allclose(scene.cameras.c2w.numpy(), poses(), atol=1e-9)
    assert_projects(scene.cameras, result)
    assert load(realitycapture / "export.csv").image_names == NAMES
    newer = table().replace("heading", "yaw").replace(",f,px,py,", ",f_35mm,px_norm,py_norm,")
    (realitycapture / "export.csv").write_text(newer)
    assert_projects(load(realitycapture).cameras, result)


@pytest.mark.parametrize(
    ("angles", "looks", "top"),
    [
        ((0, 0, 0), (0, 0, -1), (0, 1, 0)),  # a nadir photograph, north up
        ((90, 0, 0), (0, 0, -1), (1, 0, 0)),  # the same from an aircraft that flies east
        ((0, 90, 0), (0, 1, 0), (0, 0, 1)),  # level, to the north
        ((90, 90, 0), (1, 0, 0), (0, 0, 1)),  # level, to the east
        ((180, 45, 0), (0, -(0.5**0.5), -(0.5**0.5)), (0, -(0.5**0.5), 0.5**0.5)),  # oblique, to the south
    ],
)
def test_realitycapture_angles_of_flights(realitycapture, angles, looks, top):
    rows = [f"{name},{i},0,100,{','.join(map(str, angles))},35,0,0,0,0,0,0,0,0" for i, name in enumerate(NAMES)]
    (realitycapture / "export.csv").write_text("\n".join([HEADER, *rows]))
    c2w = load(realitycapture).cameras.c2w[4].numpy()
    np.testing.assert_allclose(c2w[:3, 2], looks, atol=1e-12)
    np.testing.assert_allclose(-c2w[:3, 1], top, atol=1e-12)
    assert c2w[:3, 3].tolist() == [4, 0, 100]


def test_realitycapture_columns_may_be_fewer_and_names_have_no_suffix(realitycapture):
    rows = [f"{name.removesuffix('.png')},{i},0,100,0,0,0,36" for i, name in enumerate(NAMES)]
    (realitycapture / "export.csv").write_text("\n".join(["#name,x,y,alt,heading,pitch,roll,f", *rows]))
    assert load(realitycapture).cameras.intrinsics[0].tolist() == [40, 40, 20, 15]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("view_03.png,", "view_03.png,7,", r"line 5 has 17 fields for 16"),
        ("view_03.png,", "gone.png,", r"1 of 9 images are missing.*gone"),
        (",41,", ",wide,", r"line 2.*wide"),
        (",41,", ",nan,", r"line 2: f is nan"),
        (",41,", ",0,", r"focal lengths"),
        (",-0.004,0,", ",-0.004,5,", r"view_00.*k4 moves pixels"),
        ("view_03.png,", "view_02.png,", r"view_02.*listed twice"),
    ],
)
def test_realitycapture_faults_are_named(realitycapture, old, new, reason):
    assert old in table()
    (realitycapture / "export.csv").write_text(table().replace(old, new))
    with pytest.raises(SceneFormatError, match=reason):
        load(realitycapture)


def test_realitycapture_degrees_are_refused(realitycapture):
    rows = [f"{name},{7.25 + 1e-4 * i},{46.5 - 1e-4 * i},410,0,0,0,36" for i, name in enumerate(NAMES)]
    (realitycapture / "export.csv").write_text("\n".join(["#name,x,y,alt,heading,pitch,roll,f", *rows]))
    with pytest.raises(SceneFormatError, match=r"seem to be degrees.*projected"):
        load(realitycapture)


def test_realitycapture_rows_only_in_the_header(realitycapture):
    (realitycapture / "export.csv").write_text(HEADER)
    with pytest.raises(SceneFormatError, match="no view"):
        load(realitycapture)


def test_realitycapture_damaged(realitycapture):
    assert fuzz(realitycapture, [realitycapture / "export.csv"], rounds=120) > 40


# --- a real flight --------------------------------------------------------------------------------------------------


def _as_metashape(folder, scene, lens):
    fx, _, cx, cy, k1, width, height = lens
    values = f"<f>{fx!r}</f><cx>{cx - width / 2!r}</cx><cy>{cy - height / 2!r}</cy><k1>{k1!r}</k1>"
    cameras = "".join(
        f'<camera id="{i}" sensor_id="0" label="{name}"><transform>'
        f"{' '.join(map(repr, c2w.reshape(-1).tolist()))}</transform></camera>"
        for i, (name, c2w) in enumerate(zip(scene.image_names, scene.cameras.c2w.numpy(), strict=True))
    )
    (folder / "cameras.xml").write_text(
        '<document version="2.0.0"><chunk><sensors><sensor id="0" type="frame">'
        f'<resolution width="{width}" height="{height}"/><calibration class="adjusted">{values}</calibration>'
        f"</sensor></sensors><cameras>{cameras}</cameras></chunk></document>"
    )


def _as_realitycapture(folder, scene, lens):
    fx, _, cx, cy, k1, width, height = lens
    rest = [fx * 36 / width, (cx - width / 2) / width, (cy - height / 2) / width, k1, *[0.0] * 5]
    rows = [
        ",".join([name, *(repr(float(v)) for v in (*c2w[:3, 3], *angles(c2w), *rest))])
        for name, c2w in zip(scene.image_names, scene.cameras.c2w.numpy(), strict=True)
    ]
    (folder / "cameras.csv").write_text("\n".join([HEADER, *rows]))


def _as_opensfm(folder, scene, lens):
    fx, fy, cx, cy, k1, width, height = lens
    middle = {"c_x": (cx - width / 2) / width, "c_y": (cy - height / 2) / width}
    camera = {"projection_type": "brown", "focal_x": fx / width, "focal_y": fy / width, **middle, "k1": k1}
    shots = {}
    for name, w2c in zip(scene.image_names, scene.cameras.w2c.numpy(), strict=True):
        vector = rotation_vector(w2c[:3, :3])
        shots[name] = {"rotation": vector.tolist(), "translation": w2c[:3, 3].tolist(), "camera": "c"}
    (folder / "reconstruction.json").write_text(json.dumps([{"cameras": {"c": camera}, "shots": shots}]))


def rotation_vector(rotation):
    w, *xyz = quat_from_rotation(rotation)
    return 2 * np.arctan2(np.linalg.norm(xyz), w) * np.array(xyz) / np.linalg.norm(xyz)


@pytest.mark.parametrize("write", [_as_metashape, _as_realitycapture, _as_opensfm])
def test_a_real_flight_meets_its_features_in_every_program_s_form(neural_data, tmp_path, write):
    """75 drone photographs: written in the form of each program, read back, and compared with where features lie."""
    flight = load(neural_data / "drone_caliterra")
    assert (flight.cameras.intrinsics == flight.cameras.intrinsics[0]).all()
    bends = flight.cameras.distortion[0].tolist()
    assert bends[0] and not any(bends[1:])
    write(tmp_path, flight, (*flight.cameras.intrinsics[0].tolist(), bends[0], *flight.cameras.sizes[0].tolist()))
    (tmp_path / "images").symlink_to(neural_data / "drone_caliterra" / "images")
    scene = load(tmp_path)
    assert scene.image_names == flight.image_names
    seen, errors = flight.points.observations, []
    for camera in range(len(scene.cameras)):
        rows = seen.cameras == camera
        points = torch.from_numpy(flight.points.xyz[seen.points[rows]])
        pixels, _ = scene.cameras.project(points, camera)
        torch.testing.assert_close(pixels, flight.cameras.project(points, camera)[0], atol=1e-6, rtol=0)
        errors.append(np.linalg.norm(pixels.numpy() - seen.pixels[rows], axis=1))
    assert np.median(np.concatenate(errors)) < 0.6


def test_points_are_in_front_of_every_camera():
    assert all((camera_points(c2w, POINTS)[:, 2] > 1).all() for c2w in poses())
