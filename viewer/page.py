"""A scene as an HTML page that opens anywhere: viewer, style and Gaussians inside, nothing fetched from outside.

The Gaussians are `.spz` files in base64, coarse level first, behind the script: a browser draws the first while it is
still reading the second. They are moved to the origin and scaled, so that coordinates of any size keep their
precision; the page undoes that wherever it names a place.

A page named `index.html` is one of a folder: it holds the coarsest level only, and the rest lies beside it as a
streamed SOG, of which it fetches what is near the camera. Browsers fetch nothing from a disk: that needs a web host.
"""

import base64
import hashlib
import html
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64

import neural
from neural.atomic import replacing
from neural.cameras import Cameras
from neural.poses import quarter_turns
from neural.scenes.files.gaussians.record import SplatRecord
from neural.scenes.files.gaussians.sog.streamed_sog import NAME as LOD_META
from neural.viewer import bundle, levels
from neural.viewer.outlook import Outlook, first_view, outlook

FOLDER = "index.html"  # the name of a page whose scene lies beside it
_BESIDE = "scene"  # the folder of it
_STREAM = f"{_BESIDE}/{LOD_META}"
_BLOCK = 3 << 18  # bytes of one block of base64, each decoded alone; of multiples of 3 none is padded
_FAR = 4.0  # times the radius of everything
_NEAR = 2e-3  # of the extent
_NAME = 200  # characters of a title or of a camera's name that are kept


def write_page(
    path: str | Path,
    record: SplatRecord,
    *,
    cameras: Cameras | None = None,
    names: Sequence[str] | None = None,
    title: str = "",
    start: int = 0,
    background: tuple[float, float, float] = (0.0, 0.0, 0.0),
    origin: Float64[np.ndarray, "3"] | None = None,
    near: float | None = None,
    clear: float = 0.0,
    up: Float64[np.ndarray, "3"] | None = None,
) -> Path:
    """Writes a page that shows Gaussians, sorted and with their spherical harmonics, also when opened from a disk.

    Args:
        path: The file; its folder must exist. `index.html` makes a folder of levels of detail beside it, of which no
            file stays that an earlier page there needed and this one does not.
        record: The scene, in the frame of the cameras but for `origin`.
        cameras: To jump to, and to start at. Drawn as pinholes: what a lens bends is left out.
        names: Of the cameras; counted without them.
        title: Shown on the page.
        start: The camera to start at.
        background: sRGB behind everything.
        origin: What the record's means are relative to, so that float32 need not hold coordinates of a country.
        near: Smallest depth that is drawn, scene units.
        clear: The same at each of the cameras; it shrinks by the distance to the closest one.
        up: Unit vector; as the cameras are held without it. Photographs that lie on their sides are shown upright.

    Raises:
        BackendUnavailable: The viewer was not built.
        ValueError: Names or a start that do not fit the cameras.
        OSError: The disk refuses.
    """
    script = bundle.script()
    if cameras is not None and names is not None and len(names) != len(cameras):
        raise ValueError(f"write_page: {len(names)} names for {len(cameras)} cameras")
    if cameras is not None and not 0 <= start < max(len(cameras), 1):
        raise ValueError(f"write_page: start must be one of {len(cameras)} cameras, got {start}")
    shift = np.zeros(3) if origin is None else np.asarray(origin, dtype=np.float64)
    local = None if cameras is None else cameras.to("cpu").relative_to(torch.from_numpy(shift))
    found = outlook(record, local, up)
    path = Path(path)
    beside = levels.halved(record) if path.name == FOLDER else []
    parts = [levels.as_spz(level, found) for level in (beside[-1:] or levels.inside(record))]
    about = {
        "title": _plain(title),
        "antialiased": record.antialiased,
        "background": [float(value) for value in background],
        "centre": (found.centre + shift).tolist(),
        "scale": found.scale,
        "extent": found.extent,
        "near": near if near is not None else _NEAR * found.extent,
        "clear": float(clear),
        "far": _FAR * found.reach,
        "up": found.up.tolist(),
        "cameras": _cameras(cameras, names, found),
        "start": _start(cameras, start, found, shift),
        "levels": [{"bytes": len(data), "blocks": -(-len(data) // _BLOCK)} for data in parts],
    }
    if len(beside) > 1:
        levels.write_streamed(path.parent / _BESIDE, beside, found)
        about["stream"] = {"index": _STREAM, "origin": about["centre"]}
    left_over = len(beside) == 1 and _streams(path)  # an earlier page of this name, of a larger scene
    _write(path, *_framed(about, script), parts)
    if left_over:
        levels.remove_streamed(path.parent / _BESIDE)
    return path


def _streams(path: Path) -> bool:
    """Whether there is a page already that has a streamed SOG beside it."""
    return path.is_file() and f'"index": "{_STREAM}"'.encode() in path.read_bytes()


def _write(path: Path, before: str, after: str, parts: list[bytes]) -> None:
    """The page, its levels in blocks of base64."""
    with replacing(path) as file:
        file.write(before.encode())
        for index, data in enumerate(parts):
            for block, at in enumerate(range(0, len(data), _BLOCK)):
                file.write(f'<script type="text/plain" id="level-{index}-{block}">'.encode())
                file.write(base64.b64encode(data[at : at + _BLOCK]))
                file.write(b"</script>\n")
        file.write(after.encode())


def _framed(about: dict[str, Any], script: str) -> tuple[str, str]:
    """The page before and after its levels."""
    style = (bundle.WEB / "style.css").read_text("utf-8")
    texts = {
        "policy": _policy(style, script, "'self'" if "stream" in about else "'none'"),
        "version": neural.__version__,
        "title": html.escape(about["title"] or "Scene"),
        "style": style,
        "scene": json.dumps(about, allow_nan=False).replace("<", "\\u003c"),
        "script": script,
    }
    before, after = (bundle.WEB / "page.html").read_text("utf-8").split("{levels}")
    names = re.compile(r"\{(" + "|".join(texts) + r")\}")  # in one pass: what is put in is not looked at again
    filled = [names.sub(lambda found: texts[found.group(1)], part) for part in (before, after)]
    return filled[0], filled[1]


def _cameras(cameras: Cameras | None, names: Sequence[str] | None, found: Outlook) -> list[dict[str, Any]]:
    if cameras is None:
        return []
    chosen = names if names is not None else [f"camera {i + 1}" for i in range(len(cameras))]
    return [
        {"name": _plain(str(name)), **_upright(cameras, i, found.up), "focus": float(found.focus[i])}
        for i, name in enumerate(chosen)
    ]


def _upright(cameras: Cameras, index: int, up: Float64[np.ndarray, "3"]) -> dict[str, Any]:
    """A camera, turned by quarters about its axis until up is nearest to the top of its picture."""
    c2w = cameras.c2w[index, :3].double().numpy().copy()
    (fx, fy, cx, cy), (width, height) = cameras.intrinsics[index].tolist(), cameras.sizes[index].tolist()
    for _ in range(quarter_turns(c2w, up)):  # the picture's right becomes its top
        c2w[:, 0], c2w[:, 1] = c2w[:, 1].copy(), -c2w[:, 0]
        fx, fy, cx, cy, width, height = fy, fx, cy, width - cx, height, width
    return {"c2w": c2w.flatten().tolist(), "intrinsics": [fx, fy, cx, cy], "size": [width, height]}


def _start(cameras: Cameras | None, start: int, found: Outlook, shift: Float64[np.ndarray, "3"]) -> dict[str, Any]:
    """Where the page begins: {camera, focus}, and without cameras a view of its own."""
    if cameras is not None and len(cameras):
        return {"camera": start, "focus": float(found.focus[start])}
    view = first_view(found)
    view["c2w"][:, 3] += shift
    return {**view, "camera": -1, "c2w": view["c2w"].flatten().tolist()}


def _plain(text: str) -> str:
    """Text that can be encoded and shown on one line: surrogates and control characters of file names replaced."""
    encoded = text[:_NAME].encode("utf-8", "replace").decode("utf-8")
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in encoded)


def _policy(style: str, script: str, fetches: str) -> str:
    """Content security policy: these very texts, the workers and WebAssembly that they carry, and nothing else."""
    hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(t.encode()).digest()).decode()}'" for t in (style, script)]
    return (
        f"default-src 'none'; style-src {hashes[0]}; script-src {hashes[1]} 'wasm-unsafe-eval'; worker-src blob:; "
        f"img-src data:; connect-src {fetches}; base-uri 'none'; form-action 'none'"
    )
