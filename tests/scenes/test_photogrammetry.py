"""RealityCapture's CSV: angles, lenses, bad files; and a real flight in the form of every program."""

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
    assert_projects,
    camera_points,
    fuzz,
    poses,
    write_images,
)

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
