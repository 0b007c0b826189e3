"""Which format a capture has: every one that we read, what it looks like, and what wins where two lie together."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

from neural.errors import SceneFormatError
from neural.scenes.capture import IMAGE_SUFFIXES, Capture
from neural.scenes.formats import (
    colmap,
    kitti360,
    llff,
    meganerf,
    metashape,
    nerfpp,
    neus,
    nsvf,
    opensfm,
    polycam,
    realitycapture,
    record3d,
    scannet,
    sdfstudio,
    transforms,
)


class Reader(Protocol):
    """What a module of this folder offers to be a format."""

    def found_in(self, path: Path) -> tuple[Path, ...]:
        """The files that list the cameras: `path` itself, or those of the folder; empty if it is not this format."""

    def read(self, path: Path, *, downscale: int, missing: Literal["refuse", "skip"]) -> Capture:
        """Read the capture of a path in which exactly one such file was found."""


@dataclass(frozen=True)
class Format:
    """A kind of capture.

    Args:
        name: As people say it.
        files: What is looked for.
        reader: The module that reads it.
        wins_over: Names of formats that it may lie beside in one folder because tools make one from the other; it is
            then read, and a warning says what else there is. None: of all.
    """

    name: str
    files: str
    reader: Reader
    wins_over: tuple[str, ...] | None = ()


# In order: of a folder the first wins that may; a file given by its path is read by the last that knows its name, so
# special ones come after any .json.
FORMATS = (
    Format(
        "nerfstudio, instant-ngp, Blender, ScanNet++, MatrixCity",
        "transforms.json, transforms_{train,val,test}.json, dslr/nerfstudio/transforms.json",
        transforms,
        None,
    ),
    Format("COLMAP", "sparse/0/{cameras,images,points3D}.{bin,txt}, images/", colmap, ("LLFF",)),
    Format("LLFF", "poses_bounds.npy, images/", llff),
    Format("NSVF, Tanks and Temples", "intrinsics.txt, pose/, rgb/", nsvf),
    Format("NeRF++", "{train,validation,test}/, with intrinsics/, pose/ and rgb/ in each", nerfpp),
    Format("DTU, NeuS, IDR", "cameras_sphere.npz, image/, mask/", neus),
    Format("Mega-NeRF", "coordinates.pt, {train,val}/metadata/, {train,val}/rgbs/", meganerf),
    Format("OpenSfM, OpenDroneMap", "reconstruction.json, images/", opensfm),
    Format("Agisoft Metashape", "cameras.xml (any name), images/", metashape),
    Format("RealityCapture, RealityScan", "cameras.csv (any name), images/", realitycapture),
    Format("Polycam", "keyframes/, with cameras/ and images/ in it (or corrected_...)", polycam),
    Format("Record3D", "metadata.json or metadata, rgb/ or rgbd/", record3d),
    Format("SDFStudio", "meta_data.json", sdfstudio),
    Format("ScanNet", "intrinsic/intrinsic_color.txt, pose/, color/", scannet),
    Format("KITTI-360", "calibration/perspective.txt, data_poses/, data_2d_raw/", kitti360),
)


def read(path: Path, downscale: int, missing: Literal["refuse", "skip"]) -> Capture:
    """Find the format and read.

    Raises:
        SceneFormatError: Nothing there, no known format, or several between which only a person can choose.
    """
    if not path.exists():
        raise SceneFormatError(path, "no such file or folder")
    path = path.absolute()  # some formats are known by the names of the folders above
    found = _found(path)
    if not found:
        listed = "\n".join(f"  {known.name}: {known.files}" for known in FORMATS)
        raise SceneFormatError(path, f"no capture of a known format here; supported are\n{listed}")
    if path.is_file():
        last = found[-1][0]
        return _named(last.reader.read(path, downscale=downscale, missing=missing), last)
    (chosen, files), others = found[0], found[1:]
    allowed = chosen.wins_over
    if len(files) > 1 or (allowed is not None and any(other.name not in allowed for other, _ in others)):
        listed = ", ".join(f"{file.relative_to(path)} ({known.name})" for known, files in found for file in files)
        raise SceneFormatError(path, f"holds several captures: {listed}; load one of them by the path of its file")
    capture = _named(chosen.reader.read(path, downscale=downscale, missing=missing), chosen)
    if not others:
        return capture
    listed = ", ".join(f"{file.relative_to(path)} ({known.name})" for known, files in others for file in files)
    warning = f"Read {files[0].relative_to(path)}; there is also {listed}: to read that, load the path of its file."
    return replace(capture, warnings=(*capture.warnings, warning))


def knows(path: Path) -> bool:
    """Whether any format has its files here."""
    return bool(_found(path.absolute()))


def photographs_without_cameras(path: Path) -> list[Path]:
    """Image files of a folder, or of `images/` in it, that is no capture of any format; sorted."""
    path = path.absolute()
    if not path.is_dir() or _found(path):
        return []
    for folder in (path, path / "images"):
        if folder.is_dir():
            files = sorted(
                file for file in folder.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file()
            )
            if files:
                return files
    return []


def _named(capture: Capture, known: Format) -> Capture:
    """With the name of its format, unless the reader has said which of several it is."""
    return capture if capture.format is not None else replace(capture, format=known.name)


def _found(path: Path) -> list[tuple[Format, tuple[Path, ...]]]:
    return [(known, files) for known in FORMATS if (files := known.reader.found_in(path))]
