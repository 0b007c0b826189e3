"""OpenSfM's reconstruction.json: poses, every lens by the documentation's own formulas, GPS, and bad files."""

import json

import numpy as np
import pytest

from neural.errors import SceneFormatError
from neural.scenes.load import load
from tests.scenes.formats import (
    HEIGHT,
    NAMES,
    POINTS,
    WIDTH,
    N,
    assert_projects,
    fuzz,
    poses,
    strange_fields,
    write_images,
)

LENSES = {
    "perspective": {"focal": 1.1, "k1": -0.08, "k2": 0.01},
    "simple_radial": {"focal_x": 1.1, "focal_y": 1.15, "c_x": 0.02, "c_y": -0.03, "k1": -0.08},
    "radial": {"focal_x": 1.1, "focal_y": 1.15, "c_x": 0.02, "c_y": -0.03, "k1": -0.08, "k2": 0.02},
    "brown": {
        "focal_x": 1.1, "focal_y": 1.15, "c_x": 0.02, "c_y": -0.03,
        "k1": -0.08, "k2": 0.02, "p1": 0.01, "p2": -0.015, "k3": 0.005,
    },
    "fisheye": {"focal": 1.1, "k1": -0.05, "k2": 0.01},
    "fisheye_opencv": {
        "focal_x": 1.1, "focal_y": 1.15, "c_x": 0.02, "c_y": -0.03, "k1": -0.05, "k2": 0.01, "k3": 0.004, "k4": 0.002
    },
}  # fmt: skip


def axis_angle(rotation):
    """By the trace and the antisymmetric part, which is how the vector is defined."""
    angle = np.arccos((np.trace(rotation) - 1) / 2)
    (_, a, b), (c, _, d), (e, f, _) = rotation
    return angle * np.array([f - d, b - e, c - a]) / (2 * np.sin(angle))


def document(kind="brown", **fields):
    shots = {}
    for name, c2w in zip(NAMES, poses(), strict=True):
        w2c = np.linalg.inv(c2w)
        shots[name] = {
            "rotation": axis_angle(w2c[:3, :3]).tolist(), "translation": w2c[:3, 3].tolist(), "camera": "v2 cam"
        }  # fmt: skip
    camera = {"projection_type": kind, "width": 4 * WIDTH, "height": 4 * HEIGHT, **LENSES.get(kind, {})}
    points = {str(i): {"color": [10.0 * i, 20.0, 300.0], "coordinates": xyz.tolist()} for i, xyz in enumerate(POINTS)}
    return {"cameras": {"v2 cam": camera}, "shots": shots, "points": points, **fields}


def write(folder, *parts):
    write_images(folder / "images")
    (folder / "reconstruction.json").write_text(json.dumps(list(parts)))
    return folder


def pixels(kind):
    """`geometry.rst`: normalised coordinates, then H; whole numbers there are pixel centres, so + 0.5 for ours."""
    lens = {"k1": 0.0, "k2": 0.0, "k3": 0.0, "k4": 0.0, "p1": 0.0, "p2": 0.0, "c_x": 0.0, "c_y": 0.0, **LENSES[kind]}
    fx, fy = lens.get("focal_x", lens.get("focal")), lens.get("focal_y", lens.get("focal"))
    k1, k2, k3, k4, p1, p2 = (lens[k] for k in ("k1", "k2", "k3", "k4", "p1", "p2"))
    result = []
    for c2w in poses():
        w2c = np.linalg.inv(c2w)
        x, y, z = (POINTS @ w2c[:3, :3].T + w2c[:3, 3]).T
        if "fisheye" in kind:
            r = np.hypot(x, y)
            theta = np.arctan2(r, z)
            d = 1 + k1 * theta**2 + k2 * theta**4 + k3 * theta**6 + k4 * theta**8
            u, v = d * theta * x / r, d * theta * y / r
        else:
            xn, yn = x / z, y / z
            r2 = xn**2 + yn**2
            d = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
            u = d * xn + 2 * p1 * xn * yn + p2 * (r2 + 2 * xn**2)
            v = d * yn + 2 * p2 * xn * yn + p1 * (r2 + 2 * yn**2)
        u, v = fx * u + lens["c_x"], fy * v + lens["c_y"]
        longer = max(WIDTH, HEIGHT)
        result.append(np.stack([longer * u + (WIDTH - 1) / 2, longer * v + (HEIGHT - 1) / 2], axis=1) + 0.5)
    return result


@pytest.mark.parametrize("kind", LENSES)
def test_opensfm_lenses(tmp_path, kind):
    scene = load(write(tmp_path, document(kind)))
    assert_projects(scene.cameras, pixels(kind))
    assert scene.image_names == NAMES
    np.testing.assert_allclose(scene.points.xyz, POINTS)
    assert scene.points.rgb[3].tolist() == [30, 20, 255]
    assert scene.metres_per_unit is None and scene.crs is None


def test_opensfm_gps_reference_gives_metres_and_a_frame(tmp_path):
    lla = {"latitude": 46.5, "longitude": 7.25, "altitude": 410.0}
    scene = load(write(tmp_path, document(reference_lla=lla)))
    assert scene.metres_per_unit == 1.0
    assert scene.crs == "+proj=topocentric +ellps=WGS84 +lat_0=46.5 +lon_0=7.25 +h_0=410.0"
    write(tmp_path, document())
    (tmp_path / "reference_lla.json").write_text(json.dumps(lla))
    assert load(tmp_path).crs == scene.crs
    assert load(write(tmp_path, document(reference_lla=dict.fromkeys(lla, 0.0)))).crs is None


def test_odm_project_keeps_its_images_a_folder_higher(tmp_path):
    write(tmp_path / "opensfm", document("perspective"))
    (tmp_path / "opensfm" / "images").rename(tmp_path / "images")
    assert_projects(load(tmp_path).cameras, pixels("perspective"))
    assert_projects(load(tmp_path / "opensfm" / "reconstruction.json").cameras, pixels("perspective"))


def test_opensfm_takes_the_largest_of_several_reconstructions(tmp_path):
    small = document()
    small["shots"] = {"other.png": small["shots"][NAMES[0]]}
    scene = load(write(tmp_path, small, document()))
    assert len(scene.cameras) == N
    assert "1 images are in 1 other" in scene.warnings[0]


def _shot(**fields):
    return lambda d: d["shots"][NAMES[2]].update(fields)


def _camera(**fields):
    return lambda d: d["cameras"]["v2 cam"].update(fields)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_shot(rotation=[0, 0]), r"view_02.*rotation.*3 numbers"),
        (_shot(rotation=[0, float("nan"), 0]), r"view_02.*rotation.*NaN"),
        (_shot(rotation=[0, 1e300, 0]), r"view_02.*NaN"),
        (_shot(translation=None), r"view_02.*translation is missing"),
        (_shot(camera="gone"), r"view_02.*camera.*'gone'"),
        (_camera(projection_type="spherical"), r"spherical.*do not have.*undistort"),
        (_camera(projection_type=["brown"]), r"projection_type"),
        (_camera(focal_x=None), r"focal_x is missing"),
        (_camera(focal_x=-1.0), r"focal lengths"),
        (_camera(k1="much"), r"k1 is 'much'"),
        (_camera(width=HEIGHT, height=WIDTH), r"width.*proportions"),
        (lambda d: d["shots"].update({"../../../etc/passwd": d["shots"][NAMES[0]]}), r"outside"),
        (lambda d: d["shots"].update({"gone.png": d["shots"][NAMES[0]]}), r"1 of 10 images are missing"),
        (lambda d: d.update(shots={}), r"no view"),
        (lambda d: d.pop("cameras"), r"cameras is missing"),
        (lambda d: d["points"]["3"].update(coordinates=[1]), r"points.*'3'.*coordinates"),
        (lambda d: d.update(reference_lla={"latitude": 99, "longitude": 0, "altitude": 0}), r"latitude.*degrees"),
    ],
)
def test_opensfm_faults_are_named(tmp_path, spoil, reason):
    content = document()
    spoil(content)
    with pytest.raises(SceneFormatError, match=reason):
        load(write(tmp_path, content))


@pytest.mark.parametrize("text", ["[]", "{}", "[3]", "[", "null"])
def test_opensfm_other_json_is_refused(tmp_path, text):
    write(tmp_path)
    (tmp_path / "reconstruction.json").write_text(text)
    with pytest.raises(SceneFormatError, match=r"reconstruction\.json"):
        load(tmp_path)


def test_opensfm_strange_fields(tmp_path):
    write(tmp_path, document(reference_lla={"latitude": 46.5, "longitude": 7.25, "altitude": 410.0}))
    assert strange_fields(tmp_path, tmp_path / "reconstruction.json") > 60


def test_opensfm_damaged(tmp_path):
    lla = {"latitude": 46.5, "longitude": 7.25, "altitude": 410.0}
    write(tmp_path, document(reference_lla=lla))
    assert fuzz(tmp_path, [tmp_path / "reconstruction.json"], rounds=120) > 40
