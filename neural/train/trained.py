"""What every trained scene can do, whatever it is made of: show a camera, be scored, be filmed."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from neural import evaluate, lpips, paths, video
from neural.cameras import Cameras
from neural.render.rendering import Rendering
from neural.scenes.scene import Scene

BACKGROUNDS = {"white": 1.0, "black": 0.0}


class TrainedRun(ABC):
    """A trained scene with its capture and folder.

    Attributes:
        folder: Where everything of the run lies.
        scene: The capture it was trained on.
        config: Resolved; has a part `run`.
    """

    task: ClassVar[str]
    """As in `neural train TASK`."""
    kind: ClassVar[str]
    """What it is, for the title of a report."""

    folder: Path
    scene: Scene
    config: Any

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

    @abstractmethod
    def facts(self) -> dict[str, str]:
        """What a report says of the model: name -> value."""

    def evaluate(
        self,
        *,
        split: str = "test",
        background: Literal["auto", "white", "black"] = "auto",
        lpips_net: lpips.Net = "alex",
        progress: bool = True,
    ) -> evaluate.Evaluation:
        """Scores on a split; also written to RUN/eval.json.

        Raises:
            ValueError: No such split, or an empty one.
        """
        if split not in self.scene.splits:
            raise ValueError(f"no split {split!r}; this scene has {', '.join(self.scene.splits)}")
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
        """A video along a camera path (`orbit`, `train` or a file of `neural.paths.save`); gives what was written."""
        cameras = self._path(path, frames)
        if downscale > 1:
            cameras = cameras.scaled(1 / downscale)
        target = out or self.folder / (f"{path}.mp4" if path in ("orbit", "train") else f"{Path(path).stem}.mp4")
        written, sentence = video.write(target, self._frames(cameras, progress), fps=fps)
        print(sentence)
        return written

    def _path(self, path: str, frames: int) -> Cameras:
        shown = self.scene.cameras[list(self.scene.splits["train"])]
        if path == "orbit":
            return paths.orbit(shown, frames)
        if path == "train":
            return paths.along_cameras(shown, frames)
        return paths.load(Path(path))

    def _frames(self, cameras: Cameras, progress: bool) -> Iterator[np.ndarray]:
        for index in tqdm(range(len(cameras)), desc="rendering", unit="frame", disable=not progress, leave=False):
            image = self._image(cameras, index, self.config.run.background).numpy()
            yield (image.clip(0, 1) * 255 + 0.5).astype(np.uint8)

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
