"""USD: a round trip, what the schema's own readers find, halves, and stages that are no Gaussian scene."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from neural.errors import BackendUnavailable, SceneFormatError
from neural.scenes.files.gaussians import formats, usd
from neural.scenes.files.gaussians.record import Placement
from tests.damage import damaged_by_chance
from tests.splat_files import assert_refused_or_valid, errors, made

pxr = pytest.importorskip("pxr", reason="USD files need usd-core: pip install 'neural[usd]'")
PLACE = Placement(0.5, "EPSG:4978", (1.0, 2.0, 3.0))


@pytest.mark.parametrize("axes", [None, "RFU", "FLU", "RDF"])
@pytest.mark.parametrize("ending", [".usdc", ".usda"])
def test_round_trip(tmp_path: Path, ending: str, axes: str | None) -> None:
    record = replace(made(90, 2, antialiased=True), placement=PLACE)
    formats.write(tmp_path / f"a{ending}", record, axes=axes)
    got = formats.read(tmp_path / f"a{ending}")
    found = errors(got, record)
    assert found["means"].max() == found["sh0"].max() == 0 and found["shN"].max() < 1e-6
    assert found["log_scales"].max() < 1e-6 and found["opacities"].max() < 1e-6 and found["quats"].max() < 1e-6
    assert got.antialiased and got.placement == replace(PLACE, axes=axes or "RDF")
    assert [path.name for path in tmp_path.iterdir()] == [f"a{ending}"]


def test_what_its_own_readers_find(tmp_path: Path) -> None:
    from pxr import Usd, UsdGeom, UsdVol

    record = replace(made(5, 1), placement=Placement(0.25))
    usd.write(tmp_path / "a.usdc", record)
    stage = Usd.Stage.Open(str(tmp_path / "a.usdc"))
    assert UsdGeom.GetStageUpAxis(stage) == "Y" and UsdGeom.GetStageMetersPerUnit(stage) == 0.25
    prim = UsdVol.ParticleField3DGaussianSplat(stage.GetDefaultPrim())
    np.testing.assert_array_equal(np.array(prim.GetPositionsAttr().Get()), record.means * [1, -1, -1])
    first = prim.GetOrientationsAttr().Get()[0]
    turned = record.quats[0] / np.linalg.norm(record.quats[0])
    np.testing.assert_allclose([first.GetReal(), *first.GetImaginary()], turned * [1, 1, -1, -1], atol=1e-6)
    coefficients = np.array(prim.GetRadianceSphericalHarmonicsCoefficientsAttr().Get())
    assert coefficients.shape == (5 * 4, 3)
    np.testing.assert_array_equal(coefficients[::4], record.sh0)
    usd.write(tmp_path / "z.usda", record, axes="RFU")
    assert UsdGeom.GetStageUpAxis(Usd.Stage.Open(str(tmp_path / "z.usda"))) == "Z"


def test_halves_of_other_writers(tmp_path: Path) -> None:
    from pxr import Usd, UsdVol, Vt

    record = made(9, 0)
    usd.write(tmp_path / "a.usda", record)
    stage = Usd.Stage.Open(str(tmp_path / "a.usda"))
    prim = UsdVol.ParticleField3DGaussianSplat(stage.GetDefaultPrim())
    scales = np.array(prim.GetScalesAttr().Get()).astype(np.float16)
    prim.CreateScaleshAttr(Vt.Vec3hArray.FromNumpy(scales))
    prim.GetPrim().RemoveProperty("scales")
    stage.GetRootLayer().Save()
    del stage, prim
    found = errors(formats.read(tmp_path / "a.usda"), record)
    assert 0 < found["log_scales"].max() < 1e-2


def _text(body: str, head: str = "") -> str:
    return f'#usda 1.0\n(\n    upAxis = "Y"\n    {head}\n)\n{body}\n'


_SPLAT = 'def ParticleField3DGaussianSplat "S" {{\n{}\n}}'
_LAYER = "customLayerData = {{ dictionary neural = {{ {} }} }}"
FAULTS = {
    "nothing": ("", "is no USD file"),
    "no Gaussians": (_text('def Xform "a" {}'), "has no ParticleField3DGaussianSplat"),
    "empty": (_text(_SPLAT.format("")), "has no Positions"),
    "references": (_text('def "a" (references = @/etc/passwd@) {}'), r"makes /a of others \(references\)"),
    "payload": (_text('def "a" (payload = @b.usda@) {}'), r"makes /a of others \(payload\)"),
    "inherits": (_text('class "c" {}\ndef "a" (inherits = </c>) {}'), r"\(inheritPaths\); flatten it"),
    "specializes": (_text('class "c" {}\ndef "d" {\ndef "a" (specializes = </c>) {}\n}'), r"makes /d/a of others"),
    "variants": (_text('def "a" (variantSets = "v") {\nvariantSet "v" = {\n"x" {\n}\n}\n}'), "variantSetNames"),
    "clips": (_text('def "a" (clips = {dictionary default = {asset[] assetPaths = [@b.usda@]}}) {}'), "clips"),
    "a hundred prims": (_text('def "a" {\n' * 101 + "}\n" * 101), "over 100 prims inside one another"),
    "sublayers": (_text("", "subLayers = [@b.usda@]"), "refers to other files"),
    "moved": (
        _text(_SPLAT.format(
            'double3 xformOp:translate = (1, 2, 3)\nuniform token[] xformOpOrder = ["xformOp:translate"]'
        )),
        "moves /S",
    ),
    "few scales": (
        _text(_SPLAT.format(
            "point3f[] positions = [(0,0,0),(1,1,1)]\nfloat3[] scales = [(1,1,1)]\nfloat[] opacities = [1, 1]\n"
            "quatf[] orientations = [(1,0,0,0),(1,0,0,0)]\nint radiance:sphericalHarmonicsDegree = 0\n"
            "float3[] radiance:sphericalHarmonicsCoefficients = [(0,0,0),(0,0,0)]"
        )),
        "of different lengths",
    ),
    "too many colours": (
        _text(_SPLAT.format(
            "point3f[] positions = [(0,0,0)]\nfloat3[] scales = [(1,1,1)]\nfloat[] opacities = [1]\n"
            "quatf[] orientations = [(1,0,0,0)]\nint radiance:sphericalHarmonicsDegree = 0\n"
            "float3[] radiance:sphericalHarmonicsCoefficients = [(0,0,0),(0,0,0)]"
        )),
        "of different lengths",
    ),
    "degree 4": (
        _text(_SPLAT.format(
            "point3f[] positions = [(0,0,0)]\nfloat3[] scales = [(1,1,1)]\nfloat[] opacities = [1]\n"
            "quatf[] orientations = [(1,0,0,0)]\nint radiance:sphericalHarmonicsDegree = 4\n"
            f"float3[] radiance:sphericalHarmonicsCoefficients = [{', '.join(['(0,0,0)'] * 25)}]"
        )),
        "colours of degree 4",
    ),
    "other kind": (_text(_SPLAT.format(""), _LAYER.format('string model = "x"')), "kind 'x'"),
    "other axes": (_text(_SPLAT.format(""), _LAYER.format('string axes = "x"')), "has axes"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named(tmp_path: Path, fault: str) -> None:
    text, message = FAULTS[fault]
    (tmp_path / "a.usda").write_text(text)
    with pytest.raises(SceneFormatError, match=message):
        formats.read(tmp_path / "a.usda")


@pytest.mark.parametrize("arc", ["references", "inherits", "specializes", "payload"])
def test_a_kilobyte_that_stands_for_a_billion_prims(tmp_path: Path, arc: str) -> None:
    """Each prim has two children, each made of the one before: 2^30 prims, which composing would make."""
    text = 'def "a0" {\ndef "x" {\n}\n}\n'
    for i in range(1, 30):
        both = "".join(f'def "{name}" ({arc} = </a{i - 1}>) {{\n}}\n' for name in "xy")
        text += f'def "a{i}" {{\n{both}}}\n'
    (tmp_path / "a.usda").write_text(_text(text))
    with pytest.raises(SceneFormatError, match=r"makes /a\d+/[xy] of others .*flatten"):
        formats.read(tmp_path / "a.usda")


@pytest.mark.parametrize("ending", [".usda", ".usdz"])
@pytest.mark.parametrize("what", ["prims", "dictionaries"])
def test_blocks_in_blocks_do_not_end_the_stack(tmp_path: Path, what: str, ending: str) -> None:
    """USD's parser of text ends the whole process on these."""
    from pxr import Sdf

    n = 200_000
    path = tmp_path / "a.usda"
    nested = "customLayerData = " + "{ dictionary a = " * n + "{}" + "}" * n
    path.write_text(_text('def "a" {\n' * n + "}\n" * n) if what == "prims" else _text("", nested))
    if ending == ".usdz":
        with Sdf.ZipFileWriter.CreateNew(str(tmp_path / "a.usdz")) as archive:
            archive.AddFile(str(path), "a.usda")
    with pytest.raises(SceneFormatError, match=r"over 4096; write the stage as \.usdc"):
        usd.read(tmp_path / f"a{ending}")


def test_prims_that_share_one_array_are_counted_one_by_one(tmp_path: Path) -> None:
    """A .usdc holds equal arrays once, so many prims take few bytes more than one."""
    from pxr import Sdf

    usd.write(tmp_path / "one.usdc", made(1, 0).taken(np.zeros(10_000, np.int64)))
    layer = Sdf.Layer.FindOrOpen(str(tmp_path / "one.usdc"))
    for i in range(150):
        Sdf.CopySpec(layer, "/Splats", layer, f"/Splats{i}")
    path = tmp_path / "many.usdc"
    layer.Export(str(path))
    assert path.stat().st_size < 1.2 * (tmp_path / "one.usdc").stat().st_size
    with pytest.raises(SceneFormatError, match=r"claims to unpack to .* over 100 times .* damaged or hostile"):
        formats.read(path)


def test_an_archive_is_read(tmp_path: Path) -> None:
    from pxr import Sdf

    record = made(7, 1)
    usd.write(tmp_path / "a.usdc", record)
    with Sdf.ZipFileWriter.CreateNew(str(tmp_path / "a.usdz")) as archive:
        archive.AddFile(str(tmp_path / "a.usdc"), "a.usdc")
    found = errors(usd.read(tmp_path / "a.usdz"), record)
    assert found["means"].max() == 0
    (tmp_path / "a.usdz").write_bytes((tmp_path / "a.usdz").read_bytes()[:200])
    with pytest.raises(SceneFormatError):
        usd.read(tmp_path / "a.usdz")


@pytest.mark.parametrize("ending", [".usda", ".usdc"])
def test_damage_is_read_cleanly_or_refused(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"a{ending}"
    usd.write(path, made(4, 0))
    whole = path.read_bytes()
    for seed in range(150):
        path.write_bytes(damaged_by_chance(whole, seed))
        assert_refused_or_valid(usd.read, path)
    path.unlink()
    with pytest.raises(SceneFormatError, match="cannot be read"):
        usd.read(path)


def test_without_usd_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pxr", None)
    with pytest.raises(BackendUnavailable, match=r"pip install 'neural\[usd\]'"):
        usd.write(tmp_path / "a.usdc", made())
