"""Photographs in, a posed scene out: survey, features, matches, mapping, a frame with a scale and an up."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64

from neural.cameras import Cameras
from neural.errors import SceneFormatError
from neural.scenes.photographs import georeference, upright, written
from neural.scenes.photographs.georeference import Fit, Origin
from neural.scenes.photographs.plan import planned
from neural.scenes.photographs.settings import CameraSettings
from neural.scenes.photographs.sfm import ladder, process
from neural.scenes.photographs.sfm.stages import Inputs, Model, Stages
from neural.scenes.photographs.survey import Photograph, Survey

FORMAT = 2  # of what is made of finished stages: raise it when that changes, and runs that are there do it again
FEWEST = 3  # photographs with a pose that make a scene
FEW = 0.7  # share of photographs with a pose below which a warning is due
RADIUS = (
    5.0  # units that cameras lie from their middle where the scale is arbitrary: steps of .spz are then a 20th pixel
)
AXES = "RFU"  # of the frame that is written: z up, and with a georeference x east and y north
_REMEDIES = (
    "photographs must overlap by two thirds and show texture; take more, walking around the thing in small steps, "
    "without zooming; keep everything still; --share each if several cameras were used; --max-side for finer features"
)


@dataclass(frozen=True)
class Found:
    """What has come of a survey.

    Attributes:
        path: Of cameras.json.
        registered: Photographs with a pose.
        total: Photographs that were tried.
        reasons: Name of a photograph without a pose, and why.
        sentences: What to tell the user, a sentence each.
        warning: Said loudly; None if there is nothing to be loud about.
    """

    path: Path
    registered: int
    total: int
    reasons: dict[str, str]
    sentences: tuple[str, ...]
    warning: str | None


def reconstruct(
    survey: Survey,
    out: Path,
    settings: CameraSettings,
    *,
    cache: Path,
    prefix: str,
    video: bool = False,
    made_from: str = "",
    patient: bool = True,
    progress: bool = True,
) -> Found:
    """Finds cameras and writes OUT/cameras.json and OUT/points.ply.

    Args:
        survey: The photographs.
        out: Folder; must exist.
        settings: See there.
        cache: Folder of finished stages.
        prefix: Folder in `out` that shows the survey's files.
        video: Whether they are frames of one, in order.
        made_from: A digest of photographs and settings, kept in the file.
        patient: Whether to try other ways where one leaves photographs out.
        progress: Whether to draw progress bars.

    Raises:
        SceneFormatError: Too few photographs have a pose; says why and what to do.
        StageFailed: pycolmap ended badly.
        BackendUnavailable: It is not installed.
    """
    process.require_pycolmap()
    photographs = survey.photographs
    if len(photographs) < FEWEST:
        raise SceneFormatError(
            survey.root, f"{len(photographs)} photographs can be used, and at least {FEWEST} are needed; {_REMEDIES}"
        )
    plan = planned(survey, settings, video=video)
    inputs, gps, origin = plan.inputs, plan.gps, plan.origin
    known = np.isfinite(gps[:, :2]).all(axis=1)
    run = Stages(inputs, cache, progress)
    outcome = ladder.climb(run, plan.pairing, settings.mapping, plan.places, patient=patient)
    reasons = {photographs[index].name: why for index, why in outcome.reasons.items()}
    model = outcome.model
    if model is None or len(model.indices) < FEWEST:
        raise _too_few(survey, 0 if model is None else len(model.indices), reasons)
    cameras = _cameras(model, inputs)
    fit = _fit(model, cameras, inputs, gps, origin) if settings.gps and origin is not None else None
    similarity = fit.similarity if fit is not None else _arbitrary(model, cameras, inputs)
    c2w = _moved(cameras.c2w.numpy(), similarity)
    solid = _solid(model)
    points = model.points[solid] @ similarity[:3, :3].T + similarity[:3, 3]
    rgb = written.colours(model, outcome.features)[solid]
    frames = [_frame(model, row, inputs, survey.root, prefix) for row in range(len(model.indices))]
    placed = settings.gps and bool(known.any())
    frame = _about_frame(fit, origin if fit is not None else None, placed)
    about = {
        "made_from": made_from, "photographs": len(photographs), "registered": len(model.indices), "way": outcome.way,
        "reprojection_error": round(float(model.errors.mean()), 3) if len(model.errors) else None,
        "unregistered": reasons, "left_out": survey.left_out, "axes": AXES, **frame,
    }  # fmt: skip
    sentences = (
        f"{len(model.indices)} of {len(photographs)} photographs have a pose, {len(points):,} points, "
        f"{about['reprojection_error']} pixels of mean error ({outcome.way})",
        _said_of_frame(fit, origin, placed),
    )
    warning = _warning(model, len(photographs))
    notes = [*([warning] if warning else []), *([] if fit is not None else [sentences[-1]])]
    seen = written.tracks(model, outcome.features, inputs, solid)
    path = written.write(out, frames, c2w, points, rgb, seen, {**about, "notes": notes})
    return Found(path, len(model.indices), len(photographs), reasons, sentences, warning)


def _too_few(survey: Survey, placed: int, reasons: dict[str, str]) -> SceneFormatError:
    """What is said where poses are too few for a scene."""
    total = len(survey.photographs)
    shown = "; ".join(f"{name}: {why}" for name, why in list(reasons.items())[:4])
    return SceneFormatError(survey.root, f"poses were found for {placed} of {total} photographs ({shown}); {_REMEDIES}")


def _warning(model: Model, total: int) -> str | None:
    """What is said where a scene leaves many photographs out."""
    if len(model.indices) / total >= FEW:
        return None
    others = [size for size in model.sizes[1:] if size >= FEWEST]
    apart = f" (further groups of {', '.join(map(str, others))} do not connect with these)" if others else ""
    return f"only {len(model.indices)} of {total} photographs have a pose{apart}: {_REMEDIES}"


def _cameras(model: Model, inputs: Inputs) -> Cameras:
    """As the model has them, with the lens's middle only: enough to judge an arrangement."""
    lenses = [written.lens(model, row, inputs) for row in range(len(model.indices))]
    intrinsics = [[float(one[key]) for key in ("fl_x", "fl_y", "cx", "cy")] for one in lenses]
    sizes = [[int(one["w"]), int(one["h"])] for one in lenses]
    return Cameras.pinhole(
        torch.from_numpy(np.linalg.inv(model.w2c)), torch.tensor(intrinsics, dtype=torch.float64), torch.tensor(sizes)
    )


def _ups(model: Model, cameras: Cameras, inputs: Inputs) -> list[np.ndarray]:
    orientations = [inputs.photographs[index].exif.orientation for index in model.indices.tolist()]
    return upright.candidates(cameras, orientations, model.points)


def _fit(model: Model, cameras: Cameras, inputs: Inputs, gps: np.ndarray, origin: Origin) -> Fit | None:
    chosen = gps[model.indices]
    known = np.isfinite(chosen[:, :2]).all(axis=1)
    centres = cameras.origins.numpy()[known]
    return georeference.fit(centres, origin.enu(chosen[known]), _ups(model, cameras, inputs))


def _arbitrary(model: Model, cameras: Cameras, inputs: Inputs) -> Float64[np.ndarray, "4 4"]:
    """Up is +z, the middle of the points is the origin, cameras lie `RADIUS` from their middle."""
    centres = cameras.origins.numpy()
    spread = float(np.sqrt(((centres - centres.mean(axis=0)) ** 2).sum(axis=1).mean()))
    level = georeference.level(_ups(model, cameras, inputs)[0])
    scale = RADIUS / max(spread, 1e-12)
    similarity = np.eye(4)
    similarity[:3, :3] = scale * level
    middle = np.median(model.points, axis=0) if len(model.points) else centres.mean(axis=0)
    similarity[:3, 3] = -scale * level @ middle
    return similarity


def _moved(c2w: np.ndarray, similarity: np.ndarray) -> np.ndarray:
    moved = similarity @ c2w
    moved[:, :3, :3] /= np.cbrt(np.linalg.det(similarity[:3, :3]))
    return moved


def _solid(model: Model) -> np.ndarray:
    """Points seen by three photographs or more, if there are plenty of them; all, else."""
    seen = np.bincount(model.point_of, minlength=len(model.points))
    solid = seen >= 3
    return solid if solid.sum() >= 500 else seen >= 2


def _frame(model: Model, row: int, inputs: Inputs, root: Path, prefix: str) -> dict[str, Any]:
    one = inputs.photographs[int(model.indices[row])]
    frame: dict[str, Any] = {"file_path": f"{prefix}/{one.name}", **written.lens(model, row, inputs)}
    if one.mask is not None:
        inside = one.mask.is_relative_to(root)
        place, folder = (prefix, root) if inside else (written.MASKS, mask_root(one, root))
        frame["mask_path"] = f"{place}/{one.mask.relative_to(folder).as_posix()}"
    return frame


def mask_root(one: Photograph, root: Path) -> Path:
    """The folder of masks beside that of the photographs, for one that has its mask there."""
    assert one.mask is not None
    return next(folder for folder in one.mask.parents if folder.parent == root.parent)


def link(survey: Survey, out: Path, prefix: str) -> None:
    """Makes OUT/prefix show the photographs of a survey, and OUT/masks those masks that lie beside their folder.

    Raises:
        SceneFormatError: There is something else already.
        NotSaved: It cannot be made.
    """
    names, beside = [one.name for one in survey.photographs], dict[Path, list[str]]()
    for one in survey.photographs:
        if one.mask is not None and one.mask.is_relative_to(survey.root):
            names.append(one.mask.relative_to(survey.root).as_posix())
        elif one.mask is not None:
            folder = mask_root(one, survey.root)
            beside.setdefault(folder, []).append(one.mask.relative_to(folder).as_posix())
    if survey.root != out / prefix:  # frames of a video are there
        written.link(survey.root, out / prefix, names)
    for folder, own in list(beside.items())[:1]:
        written.link(folder, out / written.MASKS, own)


def _about_frame(fit: Fit | None, origin: Origin | None, placed: bool) -> dict[str, Any]:
    if fit is None or origin is None:
        return {"scale": "arbitrary", "gps": "says too little to fit" if placed else "none"}
    return {
        "scale": "metric",
        "metres_per_unit": 1.0,
        "crs": origin.crs,
        "utm": origin.utm,
        "gps": {
            "photographs": len(fit.horizontal),
            "horizontal_median_m": round(float(np.median(fit.horizontal)), 3),
            "horizontal_max_m": round(float(fit.horizontal.max()), 3),
            "vertical_median_m": None if np.isnan(fit.vertical).all() else round(float(np.nanmedian(fit.vertical)), 3),
            "heights_decide_tilt": fit.heights_used,
        },
    }


def _said_of_frame(fit: Fit | None, origin: Origin | None, placed: bool) -> str:
    if fit is not None and origin is not None:
        height = "" if np.isnan(fit.vertical).all() else f", {np.nanmedian(fit.vertical):.1f} m in height"
        tilt = "" if fit.heights_used else "; its heights disagree, so up is that of the cameras"
        return (
            f"metres by GPS: east, north, up from {origin.latitude:.6f}, {origin.longitude:.6f} (in {origin.utm}); "
            f"photographs miss their GPS by {np.median(fit.horizontal):.1f} m on the ground{height} (medians){tilt}"
        )
    why = "GPS says too little" if placed else "no GPS"
    return f"the scale is arbitrary ({why}); up is as the cameras were held"
