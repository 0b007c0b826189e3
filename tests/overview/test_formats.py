"""`neural info` of every capture format: its name, its cameras, a drawing; and nothing is taken for left out."""

import json
from pathlib import Path

import pytest
from PIL import Image

from neural import info
from neural.overview.unused import unused
from neural.scenes.formats import detect
from tests.scenes import conftest, test_opensfm, test_street_formats
from tests.scenes.formats import write_images
from tests.scenes.test_matrix_formats import llff, nerfpp, neus, nsvf  # noqa: F401  fixtures
from tests.scenes.test_meganerf import meganerf  # noqa: F401
from tests.scenes.test_metashape import metashape  # noqa: F401
from tests.scenes.test_phone_formats import polycam, record3d  # noqa: F401
from tests.scenes.test_photogrammetry import realitycapture  # noqa: F401
from tests.scenes.test_scan_formats import scannet, scannetpp, sdfstudio  # noqa: F401
from tests.scenes.test_street_formats import kitti  # noqa: F401

tiny = conftest.tiny


@pytest.fixture
def opensfm(tmp_path: Path) -> Path:
    test_opensfm.write(tmp_path, test_opensfm.document())
    return tmp_path


@pytest.fixture
def matrixcity(tmp_path: Path) -> Path:
    write_images(tmp_path, test_street_formats.NAMES)
    (tmp_path / "transforms.json").write_text(json.dumps(test_street_formats.matrixcity_block()))
    return tmp_path


@pytest.fixture
def colmap_binary(tiny: conftest.Tiny) -> Path:
    return tiny.colmap_binary()


@pytest.fixture
def colmap_text(tiny: conftest.Tiny) -> Path:
    return tiny.colmap_text()


@pytest.fixture
def blender(tiny: conftest.Tiny) -> Path:
    return tiny.blender()


@pytest.fixture
def nerfstudio(tiny: conftest.Tiny) -> Path:
    return tiny.nerfstudio()


@pytest.fixture
def instant_ngp(tiny: conftest.Tiny) -> Path:
    return tiny.nerfstudio(aabb_scale=4)


SAID = {
    "colmap_binary": "COLMAP (sparse/0/images.bin)",
    "colmap_text": "COLMAP (sparse/0/images.txt)",
    "nerfstudio": "nerfstudio (transforms.json)",
    "instant_ngp": "instant-ngp (transforms.json)",
    "blender": "Blender (transforms_train.json)",
    "scannetpp": "ScanNet++ (dslr/nerfstudio/transforms.json)",
    "matrixcity": "MatrixCity (transforms.json)",
    "llff": "LLFF (poses_bounds.npy)",
    "nsvf": "NSVF, Tanks and Temples (intrinsics.txt)",
    "nerfpp": "NeRF++ (train/intrinsics/",
    "neus": "DTU, NeuS, IDR (cameras_sphere.npz)",
    "meganerf": "Mega-NeRF (",
    "opensfm": "OpenSfM, OpenDroneMap (",
    "metashape": "Agisoft Metashape (",
    "realitycapture": "RealityCapture, RealityScan (",
    "polycam": "Polycam (",
    "record3d": "Record3D (",
    "sdfstudio": "SDFStudio (",
    "scannet": "ScanNet (",
    "kitti": "KITTI-360 (",
}


@pytest.mark.parametrize("name", SAID)
def test_what_it_says_and_draws(name: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    folder = request.getfixturevalue(name)
    found = info.find(folder)
    rows = dict(found.rows)
    assert rows["format"].startswith(SAID[name])
    assert int(rows["images"].split(":")[0]) >= 4
    assert ("unused" in rows) == (
        name in ("sdfstudio", "blender")
    )  # these two have images that their files do not list
    assert {"sizes", "lenses", "box", "cameras", "up", "frame", "scale"} <= rows.keys()
    out = tmp_path_factory.mktemp("drawn")
    for ending in (".png", ".html"):
        info.draw(found, out / f"a{ending}")
    with Image.open(out / "a.png") as picture:
        assert picture.size[0] > 1000
    assert (out / "a.html").read_text("utf-8").count('class="used"') == int(rows["images"].split(":")[0])


def test_every_format_is_here() -> None:
    named = " ".join(SAID.values())
    assert [known.name for known in detect.FORMATS if not _all_in(known.name, named)] == []


def _all_in(name: str, named: str) -> bool:
    return name in named or all(part in named for part in name.split(", "))


@pytest.mark.parametrize(
    "name", ["r_0_depth_0001.png", "r_0.webp", "r_0.mask.png", "r_0-normal.png", "0_foreground_mask.png", "notes.txt"]
)
def test_what_belongs_to_a_used_photograph_is_not_left_out(name: str, tmp_path: Path) -> None:
    for each in ("r_0.png", "r_1.png", "r_10.png", name):
        (tmp_path / each).write_bytes(b"")
    assert unused([tmp_path / "r_0.png"]) == [tmp_path / "r_1.png", tmp_path / "r_10.png"]
