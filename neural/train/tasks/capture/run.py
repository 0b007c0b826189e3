"""What every scene trained on photographs can do, whatever it is made of: show a camera, be scored, be filmed."""

from abc import abstractmethod
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor

from neural import evaluate, lpips, paths
from neural.cameras import Cameras
from neural.errors import BadOption
from neural.evaluate import Evaluation
from neural.poses import quarter_turns
from neural.render.rendering import Rendering
from neural.report import CameraPlot, View
from neural.scenes.scene import Scene
from neural.settings import nearest
from neural.train.film import FILM_PIXELS, FilmedRun, to_bytes
from neural.train.tasks.capture.photographs import photograph, usable
from neural.train.trained import MAX_SHOWN, Shown

MAX_POINTS = 2000  # of the scene in the report, about


class TrainedCapture(FilmedRun):
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

    @property
    def several_exposures(self) -> bool:
        """Whether photographs were trained with an exposure of each, which those that are held out do not have."""
        return False

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
            correct_colors=self.several_exposures,
        )  # fmt: skip

    def show(self, scores: Evaluation | None, *, progress: bool = True) -> Shown:
        """See `TrainedRun`: held-out views, the cameras, a short orbit."""
        scene = self.scene
        box, points = scene.aabb.numpy(), scene.points
        chosen = slice(None) if points is None else slice(None, None, max(1, len(points) // MAX_POINTS))
        film = self._film_of_scene(progress)
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
            turns = quarter_turns(self.scene.cameras.c2w[index].double().numpy(), self.scene.up)
            shown, true = (np.ascontiguousarray(np.rot90(to_bytes(one), turns)) for one in (image, target))
            views.append(View(score.name, shown, true, psnr=score.psnr, ssim=score.ssim, lpips=score.lpips))
        return views

    def _film_of_scene(self, progress: bool) -> Path | None:
        width, height = self.scene.cameras.sizes[0].tolist()
        small = max(1, round((width * height / FILM_PIXELS) ** 0.5))
        if min(width, height) < 2 * small:  # no video has frames of one row
            return None
        return self._film(lambda n: self._along("orbit", n, small), progress)

    def _along(self, path: str, frames: int, downscale: int) -> Cameras:
        shown = paths.upright(self.scene.cameras[list(self.scene.splits["train"])], self.scene.up)
        if path == "train" and len(shown) < 2:
            raise BadOption("--path train needs two photographs; use --path orbit")
        if downscale > int(self.scene.cameras.sizes.min()):
            raise BadOption(f"nothing is left of the pictures at --downscale {downscale}")
        if path == "orbit":
            cameras = paths.orbit(shown, frames, up=self.scene.up if self.scene.says_up else None)
        elif path == "train":
            cameras = paths.along_cameras(shown, frames)
        else:
            cameras = paths.load(Path(path))
        return cameras.scaled(1 / downscale) if downscale > 1 else cameras

    def _image(self, cameras: Cameras, index: int, background: Any = None) -> Tensor:
        width, height = cameras.sizes[index].tolist()
        return self.render_camera(cameras, index, background=background).rgb.reshape(height, width, 3).cpu()
