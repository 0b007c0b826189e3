"""USD's Gaussians: a stage (.usdc, .usda, .usdz read only) with a `ParticleField3DGaussianSplat` (extra [usd]).

positions, orientations (quaternions, real part first), scales (standard deviations), opacities (0 to 1), and for each
Gaussian (degree + 1)^2 coefficients of its radiance, degree 0 first. Axes are RUB, `upAxis` Y; RFU has `upAxis` Z.
`metersPerUnit` says the length of the unit; `customLayerData["neural"]` the CRS, offset, other axes and `model`.
Source: OpenUSD 26, usdVol/ParticleField3DGaussianSplat and its APIs.
"""

import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from jaxtyping import Float32

from neural.errors import BackendUnavailable, SceneFormatError
from neural.scenes.files.gaussians import guarded, packing, placement
from neural.scenes.files.gaussians.axes import Axes, flipped
from neural.scenes.files.gaussians.record import SH_COUNTS, SplatRecord, joined

AXES: Axes = "RUB"
_Z_UP: Axes = "RFU"  # of stages whose up axis is z
_SCHEMA = "ParticleField3DGaussianSplat"
_MODELS = ("default", "antialiased", "2dgs")
_BLOCKS = 4096  # of braces in a text: its parser calls itself for each that is open, until the stack ends
_DEEPEST = 100  # prims inside one another
_ARCS = ("references", "payload", "inheritPaths", "specializes", "variantSetNames", "clips", "clipSets")


def write(path: Path, record: SplatRecord, *, axes: Axes = AXES) -> None:
    """Write a stage with one prim, `/Splats`, in float32; to a temporary name first.

    Args:
        path: Ends in .usdc (binary) or .usda (text).
        record: In RDF axes.
        axes: Of the file; those whose third letter is U have the up axis Z.

    Raises:
        BackendUnavailable: usd-core is not there.
        ValueError: Another ending.
    """
    usd = _usd()
    if path.suffix.lower() not in (".usdc", ".usda"):
        raise ValueError(f"usd: {path} must end in .usdc or .usda")
    turned = flipped(record, ("RDF", axes))
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        temporary = Path(folder) / f"stage{path.suffix.lower()}"
        stage = usd.Usd.Stage.CreateNew(str(temporary))
        z_up = axes[2] == "U"
        usd.UsdGeom.SetStageUpAxis(stage, usd.UsdGeom.Tokens.z if z_up else usd.UsdGeom.Tokens.y)
        if turned.placement.metres_per_unit is not None:
            usd.UsdGeom.SetStageMetersPerUnit(stage, turned.placement.metres_per_unit)
        said = placement.described(turned.placement, axes, _Z_UP if z_up else AXES)
        said.pop("metres_per_unit", None)
        if "offset" in said:
            said["offset"] = usd.Gf.Vec3d(*said["offset"])
        if turned.antialiased or turned.surfels:
            said["model"] = "2dgs" if turned.surfels else "antialiased"
        if said:
            stage.GetRootLayer().customLayerData = {"neural": said}
        prim = usd.UsdVol.ParticleField3DGaussianSplat.Define(stage, "/Splats")
        stage.SetDefaultPrim(prim.GetPrim())
        _fill(usd, prim, turned)
        stage.GetRootLayer().Save()
        del stage
        temporary.replace(path)


def read(path: Path, *, axes: Axes | None = None) -> SplatRecord:
    """All Gaussians of a stage; opacities of 0 or 1 are taken a quarter of 1/255 inside.

    Args:
        path: The file, of one layer; one that refers to others, or has variants or classes, is to be flattened.
        axes: Its own, whatever it says.

    Raises:
        SceneFormatError: Damaged, without Gaussians, with prims that are moved or made of others, or nested deeply.
        BackendUnavailable: usd-core is not there.
    """
    usd = _usd()
    data = guarded.read_bytes(path)  # says in our words that it cannot be read
    try:  # USD reads values only when they are asked for, so damage shows anywhere
        _refuse_nesting(path, usd, data)
        return _read(path, usd, axes, len(data))
    except (usd.Tf.ErrorException, UnicodeDecodeError):  # whose text may be of any bytes
        raise SceneFormatError(path, "is no USD file, or a damaged one; copy it again") from None


def _read(path: Path, usd: Any, axes: Axes | None, size: int) -> SplatRecord:
    # a layer alone is looked at, so that no other file is opened
    layer = usd.Sdf.Layer.OpenAsAnonymous(str(path))
    if layer is None:
        raise SceneFormatError(path, "is no USD file, or a damaged one; copy it again")
    _refuse_composition(path, layer)
    stage = usd.Usd.Stage.Open(layer, load=usd.Usd.Stage.LoadNone)
    said = layer.customLayerData.get("neural", {})
    said = dict(said) if isinstance(said, dict) else {}
    if "offset" in said:
        offset = said["offset"]
        said["offset"] = [float(x) for x in offset] if isinstance(offset, usd.Gf.Vec3d) else None
    if stage.HasAuthoredMetadata("metersPerUnit"):
        said["metres_per_unit"] = float(usd.UsdGeom.GetStageMetersPerUnit(stage))
    model = said.pop("model", "default")
    if model not in _MODELS:
        raise SceneFormatError(path, f"holds a model of kind {str(model)[:20]!r}, expected one of {', '.join(_MODELS)}")
    z_up = usd.UsdGeom.GetStageUpAxis(stage) == usd.UsdGeom.Tokens.z
    if z_up:
        said.setdefault("axes", _Z_UP)
    place, named = placement.understood(path, said, AXES)
    prims = [prim for prim in stage.Traverse() if prim.GetTypeName() == _SCHEMA]
    if not prims:
        raise SceneFormatError(path, f"has no {_SCHEMA}; it is no Gaussian scene")
    records, claimed = [], 0
    for prim in prims:
        matrix = np.array(usd.UsdGeom.XformCache().GetLocalToWorldTransform(prim))
        if not np.allclose(matrix, np.eye(4), atol=1e-9):
            raise SceneFormatError(path, f"moves {prim.GetPath()}; apply its transform to the Gaussians first")
        found = _record(path, usd.UsdVol.ParticleField3DGaussianSplat(prim))
        claimed += 4 * (14 + 3 * found.shN.shape[1]) * len(found)
        guarded.refuse_bomb(path, claimed, size)  # many prims may have one array, which a .usdc holds once
        records.append(found)
    whole = replace(joined(records), antialiased=model == "antialiased", surfels=model == "2dgs", placement=place)
    return flipped(whole, (axes or named, "RDF"))


def _fill(usd: Any, prim: Any, record: SplatRecord) -> None:
    vt = usd.Vt
    quats = record.quats / np.linalg.norm(record.quats.astype(np.float64), axis=1, keepdims=True)
    imaginary_first = np.ascontiguousarray(np.roll(quats, -1, axis=1), dtype=np.float32)
    coefficients = np.concatenate([record.sh0[:, None], record.shN], axis=1).reshape(-1, 3)
    half = np.exp(record.log_scales.astype(np.float64)).max(axis=1, keepdims=True) * 3
    low, high = (record.means - half).min(axis=0), (record.means + half).max(axis=0)
    prim.CreatePositionsAttr(vt.Vec3fArray.FromNumpy(np.ascontiguousarray(record.means)))
    prim.CreateOrientationsAttr(vt.QuatfArray.FromNumpy(imaginary_first))
    prim.CreateScalesAttr(vt.Vec3fArray.FromNumpy(np.exp(record.log_scales.clip(-87, None))))
    prim.CreateOpacitiesAttr(vt.FloatArray.FromNumpy(packing.opacities(record.opacity_logits).astype(np.float32)))
    prim.CreateRadianceSphericalHarmonicsDegreeAttr(record.sh_degree)
    prim.CreateRadianceSphericalHarmonicsCoefficientsAttr(vt.Vec3fArray.FromNumpy(np.ascontiguousarray(coefficients)))
    prim.CreateExtentAttr(vt.Vec3fArray.FromNumpy(np.stack([low, high]).astype(np.float32)))


def _record(path: Path, prim: Any) -> SplatRecord:
    def values(name: str, columns: int) -> Float32[np.ndarray, "N C"]:
        for suffix in ("", "h"):
            found = getattr(prim, f"Get{name}{suffix}Attr")().Get()
            if found is not None and len(found):
                return np.array(found, dtype=np.float32).reshape(-1, columns)
        raise SceneFormatError(path, f"has no {name} of {prim.GetPath()}; write the scene again")

    means, scales, opacities = values("Positions", 3), values("Scales", 3), values("Opacities", 1)[:, 0]
    quats = np.roll(_quaternions(path, prim), 1, axis=1)
    degree = prim.GetRadianceSphericalHarmonicsDegreeAttr().Get()
    if degree not in range(len(SH_COUNTS)):
        raise SceneFormatError(path, f"has colours of degree {degree}, expected 0 to {len(SH_COUNTS) - 1}")
    sh = values("RadianceSphericalHarmonicsCoefficients", 3)
    n, k = len(means), (degree + 1) ** 2
    if not len(scales) == len(opacities) == len(quats) == n or len(sh) != n * k:
        raise SceneFormatError(path, f"has attributes of {prim.GetPath()} of different lengths; it is damaged")
    if not (scales >= 0).all() or not ((opacities >= 0) & (opacities <= 1)).all():
        raise SceneFormatError(path, "has negative scales, or opacities beyond 0 to 1")
    inside = opacities.astype(np.float64).clip(0.25 / 255, 1 - 0.25 / 255)
    sh = sh.reshape(n, k, 3)
    try:
        return SplatRecord(
            means=means, quats=quats,
            log_scales=np.log(scales.astype(np.float64).clip(1e-37, None)).astype(np.float32),
            opacity_logits=np.log(inside / (1 - inside)).astype(np.float32),
            sh0=np.ascontiguousarray(sh[:, 0]), shN=np.ascontiguousarray(sh[:, 1:]),
        )  # fmt: skip
    except ValueError as error:
        raise SceneFormatError(path, str(error)) from None


def _quaternions(path: Path, prim: Any) -> Float32[np.ndarray, "N 4"]:
    """x y z w, which is how the arrays lie in memory."""
    for suffix in ("", "h"):
        found = getattr(prim, f"GetOrientations{suffix}Attr")().Get()
        if found is not None and len(found):
            return np.array(found, dtype=np.float32).reshape(-1, 4)
    raise SceneFormatError(path, f"has no orientations of {prim.GetPath()}; write the scene again")


def _refuse_nesting(path: Path, usd: Any, data: bytes) -> None:
    """Refuses a text whose blocks may lie too deep in one another; of an archive only the first file is opened."""
    if data[:4] == b"PK\3\4":
        archive = usd.Sdf.ZipFile.Open(str(path))
        names = archive.GetFileNames() if archive is not None else []
        if not names:
            raise SceneFormatError(path, "is no USD file, or a damaged one; copy it again")
        data = archive.GetFile(names[0])
    if data[:8] != b"PXR-USDC" and (blocks := data.count(b"{")) > _BLOCKS:
        raise SceneFormatError(path, f"is a text of {blocks} blocks, over {_BLOCKS}; write the stage as .usdc")


def _refuse_composition(path: Path, layer: Any) -> None:
    """Refuses a layer that names other files, or whose prims are made of others: few bytes make any number of those."""
    if layer.subLayerPaths:
        raise SceneFormatError(path, "refers to other files; flatten it to one layer (usdcat --flatten)")
    prims = [(prim, 1) for prim in layer.rootPrims]
    while prims:
        prim, depth = prims.pop()
        arcs = [arc for arc in _ARCS if prim.HasInfo(arc)]
        if arcs:
            raise SceneFormatError(
                path, f"makes {str(prim.path)[:80]} of others ({arcs[0]}); flatten it to one layer (usdcat --flatten)"
            )
        if depth > _DEEPEST:
            raise SceneFormatError(path, f"has over {_DEEPEST} prims inside one another; put its Gaussians higher")
        prims += [(child, depth + 1) for child in prim.nameChildren]


def _usd() -> SimpleNamespace:
    try:
        from pxr import Gf, Sdf, Tf, Usd, UsdGeom, UsdVol, Vt
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "pxr":
            raise
        raise BackendUnavailable("USD files need usd-core: pip install 'neural[usd]'") from error
    if not hasattr(UsdVol, _SCHEMA):
        raise BackendUnavailable(f"this usd-core has no {_SCHEMA}: pip install -U 'neural[usd]'")
    return SimpleNamespace(Gf=Gf, Sdf=Sdf, Tf=Tf, Usd=Usd, UsdGeom=UsdGeom, UsdVol=UsdVol, Vt=Vt)
