"""The pictures of README and documentation, made by what the library can do: `make pictures`.

    python .github/pictures.py [--out FOLDER] [--runs FOLDER] [--quick]

Trains what it needs (ten minutes on two cores), or goes on with the runs that are there. `--quick` trains next to
nothing: that the script works is all that its pictures then show.
"""

import argparse
import importlib.util
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import neural
from neural import atomic
from neural.report.pictures import false_color
from neural.scenes.files import mesh
from neural.scenes.synthetic.cloud import CloudRecipe, write
from neural.train.tasks.capture.photographs import photograph
from neural.train.tasks.sdf.config import SdfConfig, SdfViewConfig
from neural.train.tasks.splats.config import SplatModelConfig, SplatsConfig
from neural.train.tasks.splats.run import SplatRun
from neural.train.tasks.volume.config import VolumeConfig, VolumeViewConfig

ROOT = Path(__file__).resolve().parents[1]
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-sandbox"]
PATIENCE = 300_000  # ms that a browser may take, which draws in software here
GAP = 8  # white pixels between two pictures
TILE = 192  # pixels along the sides of a small picture


@dataclass(frozen=True)
class Studio:
    """Where pictures go, where runs lie, and whether it must be quick."""

    out: Path
    runs: Path
    quick: bool

    def steps(self, n: int) -> int:
        return 3 if self.quick else n

    def save(self, name: str, frames: list[np.ndarray]) -> None:
        """A PNG of one frame, an animated WebP of several."""
        images = [Image.fromarray(frame) for frame in frames]
        path = self.out / name
        with atomic.replacing(path) as temporary:
            if len(images) == 1:
                images[0].quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(temporary, "PNG", optimize=True)
            else:
                options = {"duration": 80, "loop": 0, "quality": 60, "method": 6}
                images[0].save(temporary, "WEBP", save_all=True, append_images=images[1:], **options)
        print(f"{path}: {path.stat().st_size / 1e3:.0f} kB")


def city(studio: Studio) -> SplatRun:
    """`city.png`: a held-out photograph, the splats there, their depth; `orbit.webp`: once around them."""
    scene = neural.load(ROOT / "data" / "city", downscale=8 if studio.quick else 1)
    config = SplatsConfig(model=SplatModelConfig(antialiased=True))
    run = neural.train.splats(scene, config=config, steps=studio.steps(2500), out=studio.runs / "city")
    held_out = scene.splits["test"][2]
    width, height = scene.cameras.sizes[held_out].tolist()
    seen = run.render_camera(scene.cameras, held_out)
    rendered, depth = (values.detach().cpu().numpy() for values in (seen.rgb, seen.depth / seen.alpha.clamp(min=0.5)))
    alpha = seen.alpha.detach().cpu().numpy()
    low, high = np.quantile(depth[alpha > 0.5], [0.01, 0.99]) if (alpha > 0.5).any() else (0.0, 1.0)
    there = (alpha > 0.5)[:, None]
    colors = np.where(there, false_color(((high - depth) / (high - low)).clip(0, 1)), 255)
    shape = height, width, 3
    real = photograph(scene, held_out, "white").numpy()
    parts = [real * 255, rendered.reshape(shape) * 255, colors.reshape(shape)]
    studio.save("city.png", [beside([part.clip(0, 255).astype(np.uint8) for part in parts])])

    path = neural.paths.orbit(scene.cameras, 4 if studio.quick else 40)
    frames = [run.render_camera(path, index).rgb.detach().reshape(shape) for index in range(len(path))]
    studio.save("orbit.webp", [np.asarray((frame * 255).clamp(0, 255).to(torch.uint8)) for frame in frames])
    return run


def browsers(studio: Studio, run: SplatRun) -> None:
    """`page.png` and `viewer.png`: the page of a scene, and the live viewer, in Chromium."""
    if BROWSER is None or importlib.util.find_spec("playwright") is None:
        print("no Chromium with playwright: pictures of viewers stay as they are")
        return
    from playwright.sync_api import sync_playwright

    written = run.export(studio.runs / "page.html")
    command = [sys.executable, "-m", "neural", "view", str(run.folder)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    address = next(word for word in server.stdout.readline().split() if word.startswith("http://"))
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
            page = browser.new_page(viewport={"width": 640, "height": 400})
            page.set_default_timeout(PATIENCE)
            page.goto(written.resolve().as_uri())
            page.wait_for_function("window.neural")
            page.evaluate("neural.complete.then(() => neural.settled())")
            page.screenshot(path=studio.runs / "page.png", timeout=PATIENCE)
            page.close()
            page = browser.new_page(viewport={"width": 960, "height": 600})
            page.goto(address)
            page.add_style_tag(content="[class*=Notifications] { display: none }")  # of software rendering
            page.get_by_text("pictures/s").wait_for(timeout=PATIENCE)
            page.wait_for_timeout(1000 if studio.quick else 15_000)  # until the picture at rest is there
            page.screenshot(path=studio.runs / "viewer.png", timeout=PATIENCE)
            browser.close()
    finally:
        server.terminate()
        server.wait()
    for name in ("page.png", "viewer.png"):
        studio.save(name, [np.asarray(Image.open(studio.runs / name).convert("RGB"))])


def applications(studio: Studio) -> None:
    """`applications.png`: a radiance field, a picture looked into, a signed distance, a volume."""
    tiles = [radiance(studio), picture(studio), sdf(studio), volume(studio)]
    studio.save("applications.png", [beside([square(tile) for tile in tiles])])


def radiance(studio: Studio) -> np.ndarray:
    scene = neural.load(ROOT / "data" / "city", downscale=16 if studio.quick else 1)
    grid = neural.HashGrid(3, n_levels=12, log2_hashmap_size=16, finest_resolution=512)
    field = neural.RadianceField(grid, aabb=scene.aabb)
    run = neural.train.radiance(field, scene, steps=studio.steps(1000), out=studio.runs / "radiance")
    held_out = scene.splits["test"][0]
    width, height = scene.cameras.sizes[held_out].tolist()
    return np.asarray((run.render_camera(scene.cameras, held_out).rgb * 255).to(torch.uint8)).reshape(height, width, 3)


def picture(studio: Studio) -> np.ndarray:
    path = ROOT / "data" / "city" / "images" / "drone_000.png"
    run = neural.train.image(neural.open_picture(path), steps=studio.steps(1000), out=studio.runs / "image")
    written = run.render(crop=(40, 60, 96, 96), size=2 * TILE, out=studio.runs / "part.png")
    return np.asarray(Image.open(written).convert("RGB"))


def sdf(studio: Studio) -> np.ndarray:
    path = studio.runs / "knot.ply"
    mesh.write(path, *knot())
    config = SdfConfig(view=SdfViewConfig(size=TILE, resolution=64))
    run = neural.train.sdf(path, config=config, steps=studio.steps(400), out=studio.runs / "sdf")
    written = run.render(path="orbit", frames=2, out=studio.runs / "knot")
    return np.asarray(Image.open(min(written.iterdir())).convert("RGB"))


def volume(studio: Studio) -> np.ndarray:
    grid = studio.runs / "cloud.npy"
    if not grid.exists():
        write(CloudRecipe(resolution=16 if studio.quick else 192), grid)
    config = VolumeConfig(view=VolumeViewConfig(views=1, size=16 if studio.quick else 2 * TILE))
    run = neural.train.volume(grid, config=config, steps=studio.steps(400), out=studio.runs / "volume")
    written = run.render(path="orbit", frames=2, out=studio.runs / "cloud")
    return np.asarray(Image.open(min(written.iterdir())).convert("RGB"))


def knot(n: int = 256, m: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """A trefoil as a tube: vertices and triangles."""
    t = np.linspace(0, 2 * np.pi, n, endpoint=False)
    middle = np.stack([np.sin(t) + 2 * np.sin(2 * t), np.cos(t) - 2 * np.cos(2 * t), -np.sin(3 * t)], axis=1)
    along = np.roll(middle, -1, axis=0) - np.roll(middle, 1, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    across = np.cross(along, [0.0, 0.0, 1.0])
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    around = np.linspace(0, 2 * np.pi, m, endpoint=False)[:, None, None]
    ring = np.cos(around) * across + np.sin(around) * np.cross(across, along)
    vertices = (middle + 0.55 * ring).transpose(1, 0, 2).reshape(-1, 3)
    i, j = (axis.ravel() for axis in np.indices((n, m)))
    a, b, c, d = (x % n * m + y % m for x, y in ((i, j), (i, j + 1), (i + 1, j + 1), (i + 1, j)))
    return vertices, np.concatenate([np.stack([a, c, b], 1), np.stack([a, d, c], 1)])


def beside(parts: list[np.ndarray]) -> np.ndarray:
    """Pictures of equal height in a row."""
    white = np.full((parts[0].shape[0], GAP, 3), 255, dtype=np.uint8)
    return np.concatenate([piece for part in parts for piece in (part, white)][:-1], axis=1)


def square(image: np.ndarray) -> np.ndarray:
    """The middle of a picture, as a tile."""
    height, width = image.shape[:2]
    side = min(height, width)
    left, top = (width - side) // 2, (height - side) // 2
    part = Image.fromarray(image).crop((left, top, left + side, top + side))
    return np.asarray(part.resize((TILE, TILE), Image.Resampling.LANCZOS))


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the pictures of README and documentation.")
    parser.add_argument("--out", type=Path, default=ROOT / ".github" / "images")
    parser.add_argument("--runs", type=Path, default=ROOT / "runs" / "pictures")
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    studio = Studio(asked.out, asked.runs, asked.quick)
    for folder in (studio.out, studio.runs):
        folder.mkdir(parents=True, exist_ok=True)
    browsers(studio, city(studio))
    applications(studio)


if __name__ == "__main__":
    main()
