"""A scene as one HTML file that opens anywhere: viewer, style and Gaussians inside, nothing fetched from outside.

The Gaussians are `.spz` files in base64, coarse level first, behind the script: a browser draws the first while it is
still reading the second. They are moved to the origin and scaled, so that coordinates of any size keep their
precision; the page undoes that wherever it names a place.
"""

import base64
import hashlib
import html
import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64

import neural
from neural.atomic import replacing
from neural.cameras import Cameras
from neural.scenes.files.gaussians import spz
from neural.scenes.files.gaussians.record import SplatRecord
from neural.viewer import bundle
from neural.viewer.outlook import Outlook, first_view, outlook

COARSE = 16_000  # Gaussians of the level that is drawn first
_BLOCK = 3 << 18  # bytes of one block of base64; a multiple of 3, so that blocks can be decoded one by one
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
) -> Path:
    """Writes a page that shows Gaussians, sorted and with their spherical harmonics, also when opened from a disk.

    Args:
        path: The file; its folder must exist.
        record: The scene, in the frame of the cameras but for `origin`.
        cameras: To jump to, and to start at. Drawn as pinholes: what a lens bends is left out.
        names: Of the cameras; counted without them.
        title: Shown on the page.
        start: The camera to start at.
        background: sRGB behind everything.
        origin: What the record's means are relative to, so that float32 need not hold coordinates of a country.
        near: Smallest depth that is drawn, scene units.

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
    near_cameras = None if cameras is None else cameras.to("cpu").relative_to(torch.from_numpy(shift))
    found = outlook(record, near_cameras)
    levels = [_spz(level, found) for level in _levels(record)]
    about = {
        "title": _plain(title),
        "antialiased": record.antialiased,
        "background": [float(value) for value in background],
        "centre": (found.centre + shift).tolist(),
        "scale": found.scale,
        "extent": found.extent,
        "near": near if near is not None else _NEAR * found.extent,
        "far": _FAR * found.reach,
        "up": found.up.tolist(),
        "cameras": _cameras(cameras, names, found),
        "start": _start(cameras, start, found, shift),
        "levels": [{"bytes": len(data), "blocks": -(-len(data) // _BLOCK)} for data in levels],
    }
    style = (bundle.WEB / "style.css").read_text("utf-8")
    parts = {
        "policy": _policy(style, script),
        "version": neural.__version__,
        "title": html.escape(_plain(title) or "Scene"),
        "style": style,
        "scene": json.dumps(about, allow_nan=False).replace("<", "\\u003c"),
        "script": script,
    }
    template = (bundle.WEB / "page.html").read_text("utf-8")
    before, after = template.split("{levels}")
    path = Path(path)
    with replacing(path) as file:
        file.write(_filled(before, parts).encode())
        for index, data in enumerate(levels):
            for block, at in enumerate(range(0, len(data), _BLOCK)):
                file.write(f'<script type="text/plain" id="level-{index}-{block}">'.encode())
                file.write(base64.b64encode(data[at : at + _BLOCK]))
                file.write(b"</script>\n")
        file.write(_filled(after, parts).encode())
    return path


def _levels(record: SplatRecord) -> list[SplatRecord]:
    """Coarse to fine; what is small enough to be drawn at once has one level."""
    return [record] if len(record) <= COARSE * 5 // 4 else [_coarse(record, COARSE), record]


def _coarse(record: SplatRecord, n: int) -> SplatRecord:
    """The `n` Gaussians that cover most, widened to cover for the rest, in their order."""
    area = record.log_scales.sum(1) - record.log_scales.min(1)
    weight = area.astype(np.float64) - np.logaddexp(0, -record.opacity_logits.astype(np.float64))
    chosen = np.sort(np.argpartition(weight, -n)[-n:])
    kept = {name: getattr(record, name)[chosen] for name in _ARRAYS}
    return replace(record, **kept)


_ARRAYS = ("means", "quats", "log_scales", "opacity_logits", "sh0", "shN")


def _spz(record: SplatRecord, found: Outlook) -> bytes:
    """A level in the page's frame: RUB axes, centre at the origin, scaled."""
    means = (record.means.astype(np.float64) - found.centre) * found.scale
    log_scales = record.log_scales + np.float32(np.log(found.scale))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "level.spz"
        spz.write(path, replace(record, means=means.astype(np.float32), log_scales=log_scales))
        return path.read_bytes()


def _cameras(cameras: Cameras | None, names: Sequence[str] | None, found: Outlook) -> list[dict[str, Any]]:
    if cameras is None:
        return []
    chosen = names if names is not None else [f"camera {i + 1}" for i in range(len(cameras))]
    return [
        {
            "name": _plain(str(name)),
            "c2w": cameras.c2w[i, :3].double().flatten().tolist(),
            "intrinsics": cameras.intrinsics[i].double().tolist(),
            "size": cameras.sizes[i].tolist(),
            "focus": float(found.focus[i]),
        }
        for i, name in enumerate(chosen)
    ]


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


def _policy(style: str, script: str) -> str:
    """Content security policy: these very texts, workers and WebAssembly that they carry, and nothing from outside."""
    hashes = [f"'sha256-{base64.b64encode(hashlib.sha256(t.encode()).digest()).decode()}'" for t in (style, script)]
    return (
        f"default-src 'none'; style-src {hashes[0]}; script-src {hashes[1]} 'wasm-unsafe-eval' blob:; "
        "worker-src blob:; img-src data:; base-uri 'none'; form-action 'none'"
    )


def _filled(template: str, parts: dict[str, str]) -> str:
    """Placeholders in one pass, so that what is put in is never looked at again."""
    return re.sub(r"\{(" + "|".join(parts) + r")\}", lambda found: parts[found.group(1)], template)
