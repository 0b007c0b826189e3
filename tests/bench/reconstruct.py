"""From photographs to a page: how long it takes, how many photographs have a pose, how far that is from the truth.

Runs lie under runs/bench-reconstruct and each measured step is kept in results.json there, so a suite that was stopped
goes on with the next step; remove the folder to measure anew. On two cores all steps take about 45 minutes.
"""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from neural import atomic
from neural.cameras import Cameras
from neural.scenes.load import load
from neural.scenes.photographs.settings import CameraSettings
from neural.train.load import load_run
from neural.train.tasks.capture.config import RunConfig
from neural.train.tasks.splats import run as splats_run
from neural.train.tasks.splats.config import SplatsConfig
from tests.bench import page
from tests.bench.harness import Row, Size, Spread
from tests.scenes.photographs import corner
from tests.viewer import pages

FOLDER = Path("runs") / "bench-reconstruct"
STEPS = 4000  # of each training that is compared
DOWNSCALE = 2
VIEWS = 4  # of castle_P30, that are compared in a browser
Measured = dict[str, Any]


def run(size: Size) -> list[Row]:
    if importlib.util.find_spec("pycolmap") is None:
        return [Row("reconstruct", None, "", note="needs pycolmap: pip install 'neural[photos]'")]
    if size == "tiny":
        with tempfile.TemporaryDirectory() as folder:
            return _tiny(Path(folder))
    data = os.environ.get("NEURAL_DATA")
    if not data:
        return [Row("reconstruct", None, "", note="needs NEURAL_DATA")]
    FOLDER.mkdir(parents=True, exist_ok=True)
    castle = _kept("castle", lambda: _castle(Path(data)))
    looked = _kept("preview", lambda: _preview(Path(data)))
    fox = _kept("fox", lambda: _fox(Path(data)))
    stepwise = _kept("fox, stepwise", lambda: _fox_stepwise(Path(data)))
    drone = _kept("drone", lambda: _drone(Path(data)))
    return [
        _row("castle_P30: photographs to page.html", castle["minutes"], "min", at_most=15.0),
        _row("castle_P30: registered", castle["registered"], "of 30", at_least=30.0),
        _row("castle_P30: centres from the surveyed ones, median", castle["median"], "m", at_most=0.25,
             note=f"{castle['most']:.2f} m at most"),
        _row("castle_P30: held-out PSNR", castle["psnr"], "dB"),
        _row("castle_P30: page against our own rendering", castle["page"], "dB", at_least=25.0,
             note=f"in Chromium, the worst of {VIEWS} photographs' places"),
        _row("castle_P30: first picture of --preview", looked["seconds"], "s", at_most=60.0),
        _row("fox: registered", fox["registered"], "of 50", at_least=48.0),
        _row("fox: below the given poses, held-out PSNR", fox["given"] - fox["found"], "dB", at_most=1.0,
             note=f"{fox['found']:.2f} against {fox['given']:.2f} dB, {STEPS} steps at 1/{DOWNSCALE}"),
        _row("fox, photographs added one after the other: registered", stepwise["registered"], "of 50", at_least=48.0),
        _row("fox, the same: below the given poses, held-out PSNR", fox["given"] - stepwise["found"], "dB", at_most=1.0,
             note=f"{stepwise['found']:.2f} dB; what is left where posing all at once fails"),
        _row("drone_caliterra: registered", drone["registered"], "of 75", at_least=74.0),
        _row("drone_caliterra: metres by GPS over those of sparse/0, off by", drone["scale"], "%", at_most=5.0,
             note=f"zenith off by {drone['tilt']:.2f} degrees, GPS by {drone['gps']:.1f} m on the ground"),
    ]  # fmt: skip


def _castle(data: Path) -> Measured:
    out, began = FOLDER / "castle", time.perf_counter()
    _command(data / "castle_P30" / "images", out)
    minutes = (time.perf_counter() - began) / 60
    assert (out / "page.html").is_file(), "build the viewer: npm ci && npm run build in viewer/web"
    truth = json.loads((data / "castle_P30" / "gt_cameras.json").read_text("utf-8"))["frames"]
    centres = {Path(frame["file"]).name: np.array(frame["centre"]) for frame in truth}
    scene = load(out / "cameras.json")
    found = scene.cameras.origins.numpy()
    target = np.array([centres[Path(name).name] for name in scene.image_names])
    scale, rotation, shift = corner.similarity(found, target)
    miss = np.linalg.norm(scale * found @ rotation.T + shift - target, axis=1)
    scores = json.loads((out / "eval.json").read_text("utf-8"))
    return {
        "minutes": minutes, "registered": len(found), "median": float(np.median(miss)), "most": float(miss.max()),
        "psnr": _psnr(scores), "page": _fidelity(out),
    }  # fmt: skip


def _fidelity(out: Path) -> float:
    """PSNR of the page in a browser against our own renderer, from a few cameras; their lenses straightened."""
    trained = load_run(out)
    cameras = trained.scene.cameras
    flat = Cameras.pinhole(cameras.c2w, cameras.intrinsics, cameras.sizes)
    found = []
    with page.chromium() as browser:
        for index in range(0, len(flat), -(-len(flat) // VIEWS)):
            width, height = flat.sizes[index].tolist()
            ours = trained.render_camera(flat, index).rgb.reshape(height, width, 3).clamp(0, 1).numpy()
            with page.opened(browser, (out / "page.html").resolve().as_uri(), width, height) as tab:
                tab.evaluate("neural.complete")
                tab.evaluate(f"neural.goTo({index})")
                tab.evaluate("neural.settled()")
                found.append(pages.psnr(pages.shown(tab), ours))
    return min(found)


def _preview(data: Path) -> Measured:
    """Seconds from the command to its first picture; what goes on after it is stopped."""
    out = FOLDER / "preview"
    began = time.perf_counter()
    process = subprocess.Popen([*_NEURAL, str(data / "castle_P30" / "images"), "--out", str(out), "--preview"])
    try:
        while not (out / "picture.png").is_file():
            assert process.poll() is None and time.perf_counter() - began < 900, "no first picture"
            time.sleep(0.1)
        return {"seconds": time.perf_counter() - began}
    finally:
        process.terminate()
        process.wait()


def _fox(data: Path) -> Measured:
    out = FOLDER / "fox"
    found = _cameras(data / "fox" / "images", out)
    sources = {"given": data / "fox" / "transforms.json", "found": out / "cameras.json"}
    return {"registered": found["registered"], **{name: _scored(path, name) for name, path in sources.items()}}


def _fox_stepwise(data: Path) -> Measured:
    out = FOLDER / "fox-incremental"
    found = _cameras(data / "fox" / "images", out, CameraSettings(mapping="incremental"))
    return {"registered": found["registered"], "found": _scored(out / "cameras.json", "stepwise")}


def _scored(source: Path, name: str) -> float:
    """Held-out PSNR of a training."""
    config = SplatsConfig(run=RunConfig(steps=STEPS, downscale=DOWNSCALE, device="cpu"))
    trained = splats_run.train(source, config, out=FOLDER / f"fox-{name}")
    return _psnr(json.loads((trained.folder / "eval.json").read_text("utf-8")))


def _drone(data: Path) -> Measured:
    out = FOLDER / "drone"
    found = _cameras(data / "drone_caliterra" / "images", out)
    ours, theirs = load(out / "cameras.json"), load(data / "drone_caliterra")
    names = [Path(name).name for name in theirs.image_names]
    order = [names.index(Path(name).name) for name in ours.image_names]
    scale, rotation, _ = corner.similarity(ours.cameras.origins.numpy(), theirs.cameras.origins.numpy()[order])
    return {
        "registered": found["registered"], "scale": 100 * abs(1 / scale - 1),
        "tilt": float(np.degrees(np.arccos(min(1.0, rotation[2, 2])))), "gps": found["gps"]["horizontal_median_m"],
    }  # fmt: skip


_NEURAL = [sys.executable, "-m", "neural", "reconstruct"]


def _command(source: Path, out: Path) -> None:
    subprocess.run([*_NEURAL, str(source), "--out", str(out)], check=True)


def _cameras(source: Path, out: Path, settings: CameraSettings | None = None, *, progress: bool = True) -> Measured:
    """Cameras alone, without a training; gives what their file says of itself."""
    from neural.reconstruction import Say, find_cameras

    return find_cameras(source, out, settings or CameraSettings(), Say(progress))


def _tiny(folder: Path) -> list[Row]:
    for index, shot in enumerate(corner.shots(4)):
        corner.save(shot, folder / "photographs" / f"{index}.jpg")
    found = _cameras(folder / "photographs", folder / "run", CameraSettings(max_side=300), progress=False)
    return [_row("corner: registered", found["registered"], "of 4", at_least=4.0)]


def _kept(name: str, measure: Callable[[], Measured]) -> Measured:
    """What a step has measured, now or in an earlier run of the suite."""
    path = FOLDER / "results.json"
    results = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    if name not in results:
        results[name] = measure()
        atomic.write_json(path, results)
    return results[name]


def _psnr(scores: Measured) -> float:
    return float(scores["mean"]["psnr"])


def _row(
    name: str, value: float, unit: str, *, at_least: float | None = None, at_most: float | None = None, note: str = ""
) -> Row:
    return Row(name, Spread.of([float(value)]), unit, at_least=at_least, at_most=at_most, note=note)
