"""Agisoft Metashape's exported cameras (File > Export > Export Cameras, Agisoft XML).

A chunk lists sensors (lenses), components and cameras; a camera's `transform` is 4 x 4 camera to chunk, OpenCV axes.
The chunk's own transform takes it to the world: geocentric metres where the chunk has a geographic or projected
reference, otherwise the local coordinates of its markers. The scene stays in the chunk's frame, which is near the
origin; `world_to_scene` is the way there. Pixels are counted from the image's corner; cx cy from its middle.

The lens: x' = x (1 + K1 r^2 + ... + K4 r^8) + P1 (r^2 + 2 x^2) + 2 P2 x y, y' with P1 and P2 in turn, so that P1 is
OpenCV's p2; then u = w / 2 + cx + (f + B1) x' + B2 y', v = h / 2 + cy + f y'. A fisheye has the angle in place of r.

Source: Agisoft, "Metashape User Manual: Professional Edition", appendix "Camera models".
"""

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Literal

import numpy as np

from neural.errors import SceneFormatError
from neural.scenes.capture import Capture
from neural.scenes.formats.fields import numbers, read_text
from neural.scenes.formats.named import Photographs
from neural.scenes.formats.views import UNSEEN, Lens, View, capture

_KINDS = ("frame", "fisheye", "equidistant_fisheye")
_COEFFICIENTS = ("k1", "k2", "k3", "k4", "p1", "p2", "p3", "p4", "b1", "b2", "cx", "cy")


def found_in(path: Path) -> tuple[Path, ...]:
    """The XML files with a <chunk> in a <document>, if `path` is one or a folder that holds some."""
    files = sorted(path.glob("*.xml")) if path.is_dir() else [path] if path.suffix.lower() == ".xml" else []
    return tuple(file for file in files if file.is_file() and _is_ours(file))


def read(path: Path, *, downscale: int = 1, missing: Literal["refuse", "skip"] = "refuse") -> Capture:
    """Read the aligned cameras of the chunk; of several components, those of the largest.

    Args:
        path: The XML file, or the folder that holds one.
        downscale: Of no meaning here; the format has no reduced folders.
        missing: What to do about cameras whose photograph is not there.

    Raises:
        SceneFormatError: Names file, camera or sensor, and field; or a lens that we do not have.
    """
    source = found_in(path)[0]
    chunk = _parsed(source).find("chunk")
    if chunk is None:
        raise SceneFormatError(source, "has no <chunk>; export the cameras of one chunk")
    sensors = {sensor.get("id"): sensor for sensor in chunk.iter("sensor")}
    listed = [c for c in chunk.iter("camera") if c.get("enabled", "true").lower() not in ("false", "0")]
    aligned = [c for c in listed if c.findtext("transform")]
    component, cameras = _largest(aligned)
    labels = [camera.get("label", "") for camera in cameras]
    kept, images, warnings = Photographs(source).existing(labels, "camera label", missing)
    views = []
    for i in kept:
        camera = cameras[i]
        sensor = sensors.get(camera.get("sensor_id"))
        if sensor is None:
            raise SceneFormatError(source, f"camera {labels[i]!r}: its sensor {camera.get('sensor_id')} is not listed")
        size, lens = _lens(source, sensor)
        c2w = _matrix(source, camera.find("transform"), f"camera {labels[i]!r}", 16).reshape(4, 4)
        views.append(View(labels[i], images[i], c2w, size, lens))
    if len(aligned) < len(listed):
        warnings = (*warnings, f"{len(listed) - len(aligned)} of {len(listed)} cameras are not aligned and not used.")
    if len(cameras) < len(aligned):
        warnings = (*warnings, f"{len(aligned) - len(cameras)} cameras are in other components and are not used.")
    chunk_to_world, scale = _world(source, chunk, component)
    reference = chunk.findtext("reference") or ""
    mapped = reference.lstrip().startswith(("GEOGCS", "PROJCS", "COMPD_CS", "GEOCCS"))
    return capture(
        source,
        views,
        world_to_scene=np.linalg.inv(chunk_to_world),
        metres_per_unit=scale if scale is not None and reference else None,
        crs="EPSG:4978" if scale is not None and mapped else None,
        unbounded=True,
        warnings=warnings,
    )


def _is_ours(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            start = stream.read(4096)
    except OSError:
        return False
    return b"<document" in start and b"<chunk" in start


def _parsed(path: Path) -> ElementTree.Element:
    text = read_text(path)  # as UTF-8 whatever it declares, so that nothing hides in another encoding
    if "<!DOCTYPE" in text or "<!ENTITY" in text:  # entities can grow without bound
        raise SceneFormatError(path, "declares a document type, which Metashape does not write; remove it")
    try:
        return ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, LookupError, RecursionError) as error:
        raise SceneFormatError(path, f"is not valid XML ({error}); was it cut off?") from error


def _largest(cameras: list[ElementTree.Element]) -> tuple[str | None, list[ElementTree.Element]]:
    """The component with the most cameras, and these."""
    groups: dict[str | None, list[ElementTree.Element]] = {}
    for camera in cameras:
        groups.setdefault(camera.get("component_id"), []).append(camera)
    return max(groups.items(), key=lambda item: len(item[1]), default=(None, []))


def _matrix(source: Path, element: ElementTree.Element | None, where: str, count: int) -> np.ndarray:
    words = (element.text or "").split() if element is not None else []
    values = numbers(source, words, where)
    if len(values) != count or not np.isfinite(values).all():
        name = "it" if element is None else f"<{element.tag}>"
        raise SceneFormatError(source, f"{where}: {name} is not {count} finite numbers; export the cameras again")
    return values


def _world(source: Path, chunk: ElementTree.Element, component: str | None) -> tuple[np.ndarray, float | None]:
    """Chunk to world, and the world's units per chunk unit; identity and None where the file has no transform."""
    components = (c for c in chunk.iterfind("components/component") if c.get("id") == component)
    candidates = [c.find("transform") for c in components] + [chunk.find("transform")]
    transform = next((t for t in candidates if t is not None and len(t)), None)
    if transform is None:
        return np.eye(4), None
    rotation = _matrix(source, transform.find("rotation"), "transform", 9).reshape(3, 3)
    translation = _matrix(source, transform.find("translation"), "transform", 3)
    scale = float(_matrix(source, transform.find("scale"), "transform", 1)[0])
    if not (1e-12 < scale < 1e12 and np.abs(rotation @ rotation.T - np.eye(3)).max() < 1e-3):
        raise SceneFormatError(
            source, f"transform: its rotation is none, or its scale {scale:g} is absurd; export again"
        )
    if np.linalg.det(rotation) < 0 or np.abs(translation).max() > 1e12:
        raise SceneFormatError(source, "transform: it mirrors, or leads beyond 1e12; export the cameras again")
    matrix = np.eye(4)
    matrix[:3, :3] = scale * rotation
    matrix[:3, 3] = translation
    return matrix, scale


def _lens(source: Path, sensor: ElementTree.Element) -> tuple[tuple[int, int], Lens]:
    where = f"sensor {sensor.get('label') or sensor.get('id')!r}"
    all_of_it = sensor.findall("calibration")
    calibration = next((c for c in all_of_it if c.get("class") == "adjusted"), all_of_it[0] if all_of_it else None)
    if calibration is None:
        raise SceneFormatError(source, f"{where} has no <calibration>; align the photographs before the export")
    kind = calibration.get("type") or sensor.get("type")
    if kind not in _KINDS:
        raise SceneFormatError(
            source,
            f"{where} is of type {kind!r}, a lens that we do not have ({', '.join(_KINDS)}); undistort the photos",
        )
    resolution = calibration.find("resolution")
    resolution = sensor.find("resolution") if resolution is None else resolution
    if resolution is None:
        raise SceneFormatError(source, f"{where} has no <resolution>; export the cameras again")
    words = [resolution.get("width", ""), resolution.get("height", "")]
    width, height = numbers(source, words, f"{where}: resolution").tolist()
    if not (1 <= width < 1e6 and 1 <= height < 1e6):
        raise SceneFormatError(source, f"{where}: its resolution is {width:g} x {height:g}; correct it")
    if calibration.find("f") is None:
        raise SceneFormatError(source, f"{where} has no focal length <f>; export with Metashape 1.2 or later")
    focal = float(_matrix(source, calibration.find("f"), where, 1)[0])
    value = dict.fromkeys(_COEFFICIENTS, 0.0)
    for name in value:
        element = calibration.find(name)
        if element is not None:
            value[name] = float(_matrix(source, element, where, 1)[0])
    fisheye = kind != "frame"
    _refuse_unmapped(source, where, value, focal, (width, height), fisheye)
    place = (focal + value["b1"], focal, width / 2 + value["cx"], height / 2 + value["cy"])
    if fisheye:
        lens = Lens.fisheye(*place, *(value[k] for k in ("k1", "k2", "k3", "k4")))
    else:
        lens = Lens.opencv(*place, *(value[k] for k in ("k1", "k2", "p2", "p1", "k3")))
    return (int(width), int(height)), lens


def _refuse_unmapped(
    source: Path, where: str, value: dict[str, float], focal: float, size: tuple[float, float], fisheye: bool
) -> None:
    """Terms that our lenses lack may be there if no pixel of the image moves by them as far as one could see."""
    reach = np.hypot(*size) / 2 / max(abs(focal), 1e-9)  # of the image's corner, in the coordinates of the formula
    with np.errstate(over="ignore", invalid="ignore"):
        moved = {
            "K4": 0.0 if fisheye else abs(value["k4"] * focal) * reach**9,
            "P1 P2": 3 * (abs(value["p1"]) + abs(value["p2"])) * abs(focal) * reach**2 if fisheye else 0.0,
            "P3 P4": (abs(value["p3"]) + abs(value["p4"])) * abs(focal) * reach**4,
            "B2": abs(value["b2"]) * reach,
        }
    for name, pixels in moved.items():
        if not pixels < UNSEEN:
            raise SceneFormatError(
                source,
                f"{where}: {name} moves pixels by up to {pixels:.3g}, which our lenses cannot say; optimise cameras "
                f"without {name}, or export undistorted photographs (Export > Convert Images)",
            )
