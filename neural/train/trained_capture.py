"""What every scene trained on photographs can do, whatever it is made of: show a camera, be scored, be filmed."""

import time
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from neural import evaluate, lpips, paths, video
from neural.cameras import Cameras
from neural.errors import BadOption
from neural.evaluate import Evaluation
from neural.render.rendering import Rendering
from neural.report import CameraPlot, View
from neural.scenes.scene import Scene
from neural.settings import nearest
from neural.train.trained import Shown, TrainedRun

BACKGROUNDS = {"white": 1.0, "black": 0.0}
FILM_PIXELS = 60_000  # per frame of the film in the report, about
FILM_PATIENCE = 30.0  # seconds that it may take, about
MAX_SHOWN = 12  # held-out views in the report
MAX_POINTS = 2000  # of the scene in the report, about


class TrainedCapture(TrainedRun):
    """A trained scene with its capture and folder.

    Attributes:
        folder: Where everything of the run lies.
        scene: The capture it was trained on.
        config: Resolved; has a part `run`.
    """

    scene: Scene

    @abstractmethod
    def render_camera(
        self, cameras: Cameras, index: int = 0, *, background: Literal["white", "black"] | None = None
    ) -> Rendering:
        """One camera's picture; fields of the result have H W rows.

        Args:
            cameras: In the scene's frame, float64.
            index: Which of them.
            background: Behind the scene; that of the run without it.
        """

    def scorable(self) -> bool:
        """Whether photographs are held out."""
        return bool(self.scene.splits["test"])

    def evaluate(
        self,
        *,
        split: str = "test",
        background: Literal["auto", "white", "black"] = "auto",
        lpips_net: lpips.Net = "alex",
        progress: bool = True,
    ) -> Evaluation:
        """Scores on a split; also written to RUN/eval.json.

        Raises:
            BadOption: No such split, or an empty one.
        """
        if split not in self.scene.splits:
            raise BadOption(f"no split {split!r}{nearest(split, list(self.scene.splits))}")
        if not self.scene.splits[split]:
            raise BadOption(f"the split {split!r} of {self.scene.name} has no images; choose another")
        behind: Any = self.config.run.background if background == "auto" else background
        transparent = self.scene.images is not None and self.scene.images.channels == 4
        return evaluate.evaluate(
            lambda i: self._image(self.scene.cameras, i, behind), lambda i: photograph(self.scene, i, behind),
            self.scene.splits[split], names=self.scene.image_names, background=behind if transparent else "none",
            split=split, out=self.folder, lpips_net=lpips_net, progress=progress,
            mask_image=None if self.scene.masks is None else lambda i: usable(self.scene, i),
        )  # fmt: skip

    def render(
        self,
        *,
        path: str = "orbit",
        out: Path | None = None,
        frames: int = 120,
        fps: float = 30.0,
        downscale: int = 1,
        progress: bool = True,
    ) -> Path:
        """A video along a camera path (`orbit`, `train` or a file of `neural.paths.save`); gives what was written.

        Raises:
            BadOption: The path needs more photographs, or nothing is left of the pictures.
        """
        if path == "train" and len(self.scene.splits["train"]) < 2:
            raise BadOption("--path train needs two photographs; use --path orbit")
        if downscale > int(self.scene.cameras.sizes.min()):
            raise BadOption(f"nothing is left of the pictures at --downscale {downscale}")
        cameras = self._path(path, frames)
        if downscale > 1:
            cameras = cameras.scaled(1 / downscale)
        target = out or self.folder / (f"{path}.mp4" if path in ("orbit", "train") else f"{Path(path).stem}.mp4")
        written, sentence = video.write(target, self._frames(cameras, progress), fps=fps)
        print(sentence)
        return written

    def show(self, scores: Evaluation | None, *, progress: bool = True) -> Shown:
        """See `TrainedRun`: held-out views, the cameras, a short orbit."""
        scene = self.scene
        box, points = scene.aabb.numpy(), scene.points
        chosen = slice(None) if points is None else slice(None, None, max(1, len(points) // MAX_POINTS))
        film = self._film(progress)
        return Shown(
            title=scene.name,
            views=self._views(scores),
            cameras=CameraPlot.from_c2w(
                scene.cameras.c2w.numpy(), scene.splits["test"], box,
                points=None if points is None else points.xyz[chosen],
                colors=None if points is None else points.rgb[chosen],
            ),
            data={
                "images": f"{len(scene.splits['train'])} for training, {len(scene.splits['test'])} held out",
                "size": f"{scene.cameras.sizes[0, 0]} x {scene.cameras.sizes[0, 1]}",
                "box": " x ".join(f"{side:.3g}" for side in np.diff(box, axis=0)[0]) + " scene units",
                "unbounded": "yes" if scene.unbounded else "no",
                "points": "none" if points is None else f"{len(points):,}",
            },
            video=film if film is not None and film.is_file() else None,
            warnings=scene.warnings,
        )  # fmt: skip

    def _views(self, scores: Evaluation | None) -> list[View]:
        views = []
        for score in scores.images[:MAX_SHOWN] if scores is not None else ():
            index = self.scene.image_names.index(score.name)
            target = photograph(self.scene, index, self.config.run.background)
            image = self.render_camera(self.scene.cameras, index).rgb.cpu().reshape(target.shape)
            pictures = (to_bytes(image), to_bytes(target))
            views.append(View(score.name, *pictures, psnr=score.psnr, ssim=score.ssim, lpips=score.lpips))
        return views

    def _film(self, progress: bool) -> Path | None:
        """A small orbit of three seconds; fewer frames where each is slow, as those of a field that is still fog."""
        width, height = self.scene.cameras.sizes[0].tolist()
        small = max(1, round((width * height / FILM_PIXELS) ** 0.5))
        if min(width, height) < 2 * small:  # no video has frames of one row
            return None
        began = time.perf_counter()
        self.render_camera(paths.orbit(self.scene.cameras, 1).scaled(1 / small), 0)
        frames = round(min(60, max(15, FILM_PATIENCE / (time.perf_counter() - began))))
        return self.render(path="orbit", frames=frames, fps=frames / 3, downscale=small, progress=progress)

    def _path(self, path: str, frames: int) -> Cameras:
        shown = self.scene.cameras[list(self.scene.splits["train"])]
        if path == "orbit":
            return paths.orbit(shown, frames)
        if path == "train":
            return paths.along_cameras(shown, frames)
        return paths.load(Path(path))

    def _frames(self, cameras: Cameras, progress: bool) -> Iterator[np.ndarray]:
        for index in tqdm(range(len(cameras)), desc="rendering", unit="frame", disable=not progress, leave=False):
            yield to_bytes(self._image(cameras, index, self.config.run.background))

    def _image(self, cameras: Cameras, index: int, background: Any) -> Tensor:
        width, height = cameras.sizes[index].tolist()
        return self.render_camera(cameras, index, background=background).rgb.reshape(height, width, 3).cpu()


def usable(scene: Scene, index: int) -> Tensor:
    """Pixels of a photograph that its mask lets count, [H, W]."""
    assert scene.masks is not None
    return torch.from_numpy(scene.masks[index] >= 128)


def photograph(scene: Scene, index: int, background: str) -> Tensor:
    """A photograph as float sRGB [H, W, 3], composited on the background."""
    assert scene.images is not None
    image = torch.from_numpy(scene.images[index].copy()).float() / 255.0
    if image.shape[-1] == 3:
        return image
    return image[..., :3] * image[..., 3:] + (1 - image[..., 3:]) * BACKGROUNDS[background]


def to_bytes(image: Tensor) -> np.ndarray:
    """An image in [0, 1] as uint8, rounded."""
    return (image.clamp(0, 1).numpy() * 255 + 0.5).astype(np.uint8)
