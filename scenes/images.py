"""All images of a scene as one flat array of uint8 pixels, kept in a memory-mapped file.

A training step takes a few thousand pixels from anywhere in the capture. With the decoded pixels in one
file, that is one indexed read, the operating system keeps in memory what is used, and a capture larger than
memory trains.
"""

import hashlib
import json
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int64, UInt8
from tqdm import tqdm

from neural.errors import SceneFormatError
from neural.scenes import photos, pixel_cache
from neural.scenes.photos import CHANNELS, Layout

_IN_MEMORY = 1 << 30  # bytes; smaller stacks without a cache folder live in plain memory
_CURE = "free space, choose another folder, or use a larger downscale"
_FORMAT = 1  # part of the cache key: raise it when decoding changes


class ImageStack:
    """N images of possibly different sizes and one number of channels; decoded at first use.

    `stack[i]` is a view: uint8 [H, W, C], or [H, W] for masks (255 = use the pixel, 0 = ignore it).

    Args:
        pixels: Where the pixels come from; shared by subsets.
        sizes: Width and height per image.
        starts: Row of `pixels` at which each image starts.
    """

    def __init__(self, pixels: "_Pixels", sizes: Int64[np.ndarray, "N 2"], starts: Int64[np.ndarray, "N"]):
        self._pixels = pixels
        self.sizes = sizes
        self._starts = starts

    @classmethod
    def from_files(
        cls,
        paths: Sequence[Path | None],
        sizes: Int64[np.ndarray, "N 2"],
        layout: Layout,
        *,
        downscale: int = 1,
        cache: Path | None = None,
    ) -> "ImageStack":
        """A stack over image files.

        Args:
            paths: One per image; None stands for an image of 255 everywhere (nothing masked).
            sizes: Width and height of the files.
            layout: "rgb", "rgba" (straight alpha) or "mask" (grey from 128 up becomes 255, below 0).
            downscale: Integer factor of the area filter.
            cache: Folder for the decoded pixels (RUN/cache), found again while path, size and time of every
                source and `downscale` are unchanged. None: memory if small, else a temporary file that
                vanishes at exit.
        """
        reduced = np.asarray(sizes, dtype=np.int64) // downscale
        source = _Files(tuple(paths), reduced, layout, downscale, cache)
        return cls(_Pixels(source), reduced, _starts(reduced))

    @classmethod
    def from_arrays(cls, images: Sequence[UInt8[np.ndarray, "H W *C"]]) -> "ImageStack":
        """A stack in memory; all images with the same channels."""
        arrays = [image if image.ndim == 3 else image[..., None] for image in images]
        if any(a.dtype != np.uint8 or a.ndim != 3 or a.shape[2] != arrays[0].shape[2] for a in arrays):
            raise ValueError("from_arrays needs uint8 images [H, W] or [H, W, C], all with the same C")
        sizes = np.array([(a.shape[1], a.shape[0]) for a in arrays], dtype=np.int64).reshape(-1, 2)
        flat = np.concatenate([a.reshape(-1, a.shape[2]) for a in arrays])
        return cls(_Pixels(flat), sizes, _starts(sizes))

    @property
    def channels(self) -> int:
        """3, 4 (straight alpha) or 1 (mask)."""
        return self._pixels.channels

    @property
    def nbytes(self) -> int:
        """Bytes of the decoded pixels."""
        return int(self.sizes.prod(axis=1).sum()) * self.channels

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, index: int) -> UInt8[np.ndarray, "H W *C"]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        width, height = (int(side) for side in self.sizes[index])
        start = int(self._starts[index])
        image = self.flat[start : start + width * height]
        return image.reshape((height, width) if self.channels == 1 else (height, width, self.channels))

    def __iter__(self) -> Iterator[UInt8[np.ndarray, "H W *C"]]:
        return (self[i] for i in range(len(self)))

    @property
    def flat(self) -> UInt8[np.ndarray, "P C"]:
        """All pixels; the first use decodes the files (threads, progress bar) or opens the cache."""
        return self._pixels.flat()

    def gather(
        self,
        image_indices: Int64[np.ndarray, "R"],
        rows: Int64[np.ndarray, "R"],
        cols: Int64[np.ndarray, "R"],
    ) -> UInt8[np.ndarray, "R C"]:
        """Pixels from anywhere in the stack; the arguments may be NumPy arrays or CPU tensors.

        Raises:
            IndexError: An index lies outside its image.
        """
        images, rows, cols = (np.asarray(index) for index in (image_indices, rows, cols))
        sizes = self.sizes[images]
        if not ((rows >= 0) & (cols >= 0) & (cols < sizes[:, 0]) & (rows < sizes[:, 1])).all():
            raise IndexError("gather: a row or column lies outside its image")
        return self.flat.take(self._starts[images] + rows * sizes[:, 0] + cols, axis=0)

    def subset(self, indices: Sequence[int]) -> "ImageStack":
        """Chosen images in the given order, sharing the pixels."""
        chosen = np.asarray(indices, dtype=np.int64)
        return ImageStack(self._pixels, self.sizes[chosen], self._starts[chosen])

    def downscaled(self, n: int) -> "ImageStack":
        """The images reduced by an integer factor, in memory."""
        if n == 1:
            return self
        return ImageStack.from_arrays([_reduced(image, n) for image in self])


@dataclass(frozen=True)
class _Files:
    """Recipe of a stack: which files, what they become, where the result is kept."""

    paths: tuple[Path | None, ...]
    sizes: Int64[np.ndarray, "N 2"]
    layout: Layout
    downscale: int
    cache: Path | None

    def cache_file(self) -> Path | None:
        """Name in the cache folder; it contains a digest of everything that determines the pixels."""
        if self.cache is None:
            return None
        stats = [(str(p), *_size_and_time(p)) if p else None for p in self.paths]
        recipe = json.dumps([_FORMAT, self.layout, self.downscale, stats, self.sizes.tolist()])
        kind = "masks" if self.layout == "mask" else "images"
        return self.cache / f"{kind}-{hashlib.sha256(recipe.encode()).hexdigest()[:20]}.u8"

    def fill(self, flat: UInt8[np.ndarray, "P C"]) -> None:
        """Decode every file into its rows of `flat`; in threads, since Pillow decodes without the lock."""
        starts = _starts(self.sizes)

        def one(index: int) -> None:
            path, (width, height) = self.paths[index], self.sizes[index]
            rows = slice(starts[index], starts[index] + width * height)
            flat[rows] = 255 if path is None else self._pixels(path, int(width), int(height))

        label = "decode masks" if self.layout == "mask" else "decode images"
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            jobs = [threads.submit(one, i) for i in range(len(self.paths))]
            try:
                for job in tqdm(as_completed(jobs), label, len(jobs), leave=False, unit="image"):
                    job.result()
            except BaseException:
                threads.shutdown(cancel_futures=True)
                raise

    def _pixels(self, path: Path, width: int, height: int) -> np.ndarray:
        image = photos.decode(path, self.layout, self.downscale)
        if image.shape[:2] != (height, width):  # the file changed since its header was read
            raise SceneFormatError(
                path, f"{image.shape[1]} x {image.shape[0]} pixels where {width} x {height} were expected"
            )
        return image.reshape(width * height, -1)


class _Pixels:
    """The flat pixels, made at first use under a lock."""

    def __init__(self, source: "_Files | UInt8[np.ndarray, 'P C']") -> None:
        self._source = source
        self._flat = None if isinstance(source, _Files) else source
        self._lock = threading.Lock()

    @property
    def channels(self) -> int:
        return CHANNELS[self._source.layout] if isinstance(self._source, _Files) else self._source.shape[1]

    def flat(self) -> UInt8[np.ndarray, "P C"]:
        if self._flat is None:
            with self._lock:
                if self._flat is None:
                    assert isinstance(self._source, _Files)
                    self._flat = _open(self._source)
        return self._flat


def _open(files: _Files) -> UInt8[np.ndarray, "P C"]:
    """Find the pixels in the cache, or decode them to the cache, a temporary file or memory."""
    shape = (int(files.sizes.prod(axis=1).sum()), CHANNELS[files.layout])
    n_bytes = shape[0] * shape[1]
    target = files.cache_file()
    if target is None and n_bytes <= _IN_MEMORY:
        flat = np.empty(shape, dtype=np.uint8)
        files.fill(flat)
        return flat
    if target is None:
        return pixel_cache.passing(shape, np.uint8, files.fill, _CURE)
    return pixel_cache.kept(target, shape, np.uint8, files.fill, _CURE)


def _reduced(image: np.ndarray, n: int) -> np.ndarray:
    """Area filter on one decoded image, by the rules of `photos.decode`."""
    height, width = (side // n * n for side in image.shape[:2])
    if not width or not height:
        raise ValueError(f"an image of {image.shape[1]} x {image.shape[0]} pixels vanishes at downscale {n}")
    image = image[:height, :width]
    if image.ndim == 3 and image.shape[2] == 4:
        return photos.reduce_rgba(image, n)
    blocks = image.reshape(height // n, n, width // n, n, -1).mean(axis=(1, 3))
    if image.ndim == 2:
        return np.where(blocks[..., 0] + 0.5 >= 128, 255, 0).astype(np.uint8)
    return (blocks + 0.5).astype(np.uint8)


def _starts(sizes: Int64[np.ndarray, "N 2"]) -> Int64[np.ndarray, "N"]:
    return np.concatenate([[0], np.cumsum(sizes.prod(axis=1))])[: len(sizes)].astype(np.int64)


def _size_and_time(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns
