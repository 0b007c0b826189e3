"""Metashape's XML: lenses by the program's own formulas, the world, components, and bad files."""

import numpy as np
import pytest

from neural.errors import SceneFormatError
from neural.scenes.load import load
from tests.scenes.formats import (
    HEIGHT,
    NAMES,
    WIDTH,
    N,
    assert_projects,
    camera_points,
    fuzz,
    poses,
    write_images,
)

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
