"""Films of what has been trained: along a path where one is asked for, a short round for the report."""

import time
from abc import abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
from jaxtyping import Float, UInt8
from torch import Tensor
from tqdm import tqdm

from neural import video
from neural.cameras import Cameras
from neural.train.trained import TrainedRun

SECONDS = 3  # that the film in the report lasts
FILM_PIXELS = 60_000  # of each of its frames, about


class FilmedRun(TrainedRun):
    """Something trained that cameras can look at.

    A subclass says what its paths are (`_along`) and how one picture is made (`_image`).
    """

    film_patience: ClassVar[float] = 30.0
    """Seconds that the film in the report may take, about."""
    film_frames: ClassVar[tuple[int, int]] = (15, 60)
    """Of that film, at least and at most."""

    @abstractmethod
    def _along(self, path: str, frames: int, downscale: int) -> Cameras:
        """Cameras along a path, of pictures that are made smaller by a whole factor.

        Raises:
            BadOption: No such path here, or nothing is left of the pictures.
        """

    @abstractmethod
    def _image(self, cameras: Cameras, index: int) -> Float[Tensor, "H W 3"]:
        """One camera's picture, sRGB on the CPU."""

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
        """Writes a video along a camera path; gives what was written.

        Args:
            path: `orbit`, `train` (past the photographs, where there are any) or a file of `neural.paths.save`.
            out: The file; RUN/<path>.mp4 without it.
            frames: Of an orbit or of `train`; a file has its own.
            fps: Frames per second.
            downscale: Pictures are made smaller by this whole factor.
            progress: Whether to draw a progress bar.

        Raises:
            BadOption: No such path here, or nothing is left of the pictures.
        """
        target = out or self.folder / f"{Path(path).stem}.mp4"
        return self._write(self._along(path, frames, downscale), target, fps, progress)

    def _film(self, around: Callable[[int], Cameras], progress: bool) -> Path:
        """The film for the report; fewer frames where each is slow, as those of a field that is still fog are.

        Args:
            around: A number of small cameras, all around.
            progress: Whether to draw a progress bar.
        """
        began = time.perf_counter()
        self._image(around(1), 0)
        fewest, most = self.film_frames
        frames = round(min(most, max(fewest, self.film_patience / (time.perf_counter() - began))))
        return self._write(around(frames), self.folder / "orbit.mp4", frames / SECONDS, progress)

    def _write(self, cameras: Cameras, target: Path, fps: float, progress: bool) -> Path:
        written, sentence = video.write(target, self._frames(cameras, progress), fps=fps)
        print(sentence)
        return written

    def _frames(self, cameras: Cameras, progress: bool) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
        for index in tqdm(range(len(cameras)), desc="rendering", unit="frame", disable=not progress, leave=False):
            yield to_bytes(self._image(cameras, index))


def to_bytes(image: Float[Tensor, "H W *C"]) -> UInt8[np.ndarray, "H W *C"]:
    """A picture in [0, 1] as bytes, rounded."""
    return (image.clamp(0, 1).numpy() * 255 + 0.5).astype(np.uint8)
