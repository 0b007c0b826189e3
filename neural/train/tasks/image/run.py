"""Images from the outside: train one, take a run up again, score it, render any part of it at any size."""

import hashlib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn
from tqdm import tqdm

from neural import atomic, metrics, png, runs
from neural.errors import BadOption, CheckpointError, SceneFormatError
from neural.report import View
from neural.scenes.pictures.picture import Picture, open_picture
from neural.train import session
from neural.train.tasks.field.encoding_config import describe_encoding
from neural.train.tasks.field.encodings import build_field
from neural.train.tasks.field.run import FieldRun, look_up, stored_field
from neural.train.tasks.image import codecs as image_codecs
from neural.train.tasks.image.config import ImageConfig, resolve
from neural.train.tasks.image.data import ImageData
from neural.train.tasks.image.scores import ImageScores
from neural.train.tasks.image.task import ImageTask
from neural.train.trained import Shown

BAND_PIXELS = 1 << 19  # that are rendered or scored at once, about
OVERVIEW = 1000  # pixels, longer side of the report's picture of the whole
ZOOM = 320  # pixels, side of the report's pictures of parts
MAX_SIDE = 1 << 20  # pixels of a rendering


class ImageRun(FieldRun):
    """A trained image with its picture and folder.

    Attributes:
        field: Positions in [0, 1]^2, the longer side from 0 to 1, to values of the space that was learnt.
        data: The picture it was trained on.
    """

    task = "image"
    kind = "image"

    def __init__(self, folder: Path, config: ImageConfig, field: nn.Module, data: ImageData) -> None:
        self.folder, self.config, self.field, self.data = folder, config, field, data

    def evaluate(self, *, progress: bool = True) -> ImageScores:
        """Scores on all pixels, a band of rows at a time, and other formats' sizes at that PSNR; see `TrainedRun`."""
        picture = self.data.picture
        scores = metrics.BandScores()
        for top, bottom in _bands(picture.height, picture.width, "evaluating", progress):
            shown = self.data.shown(self._part(0, top, picture.width, bottom - top))
            scores.add(shown, self.data.shown(self.data.rows(top, bottom)))
        values = torch.cat([p.detach().cpu().flatten() for p in self.field.parameters()])
        result = ImageScores(
            picture.width, picture.height, scores.psnr, scores.ssim, scores.ms_ssim, values.numel(),
            len(zlib.compress(values.half().numpy().tobytes(), 6)),
            tuple(image_codecs.at_equal_psnr(
                image_codecs.mosaic(lambda top, bottom: _bytes(self.data.shown(self.data.rows(top, bottom))),
                                    picture.width, picture.height),
                scores.psnr, picture.width * picture.height,
            )),
        )  # fmt: skip
        atomic.write_json(self.folder / "eval.json", result.as_dict())
        return result

    def render(
        self,
        *,
        out: Path | None = None,
        size: int | None = None,
        crop: tuple[int, int, int, int] | None = None,
        progress: bool = True,
    ) -> Path:
        """Writes a PNG of the picture or a part, at any size; gives what was written.

        Args:
            out: The file; RUN/image.png without it.
            size: Pixels along the longer side; those of the part without it.
            crop: Left, top, width and height of the part, in pixels of the picture.
            progress: Whether to draw a progress bar.

        Raises:
            BadOption: A part that is not in the picture, or a file of another kind.
        """
        target = out or self.folder / "image.png"
        if target.suffix.lower() != ".png":
            raise BadOption(f"--out must end in .png for an image, got {target}")
        left, top, width, height = self._checked(crop)
        scale = 1.0 if size is None else size / max(width, height)
        if size is not None and not 1 <= size <= MAX_SIDE:
            raise BadOption(f"--size must be 1 to {MAX_SIDE} pixels, got {size}")
        columns, rows = max(1, round(width * scale)), max(1, round(height * scale))
        bands = (
            _bytes(self.data.shown(self._part(left, top, width, height, (columns, rows), (first, last))))
            for first, last in _bands(rows, columns, "rendering", progress)
        )
        target.parent.mkdir(parents=True, exist_ok=True)
        png.write(target, columns, rows, bands)
        print(f"{columns} x {rows} pixels in {target}")
        return target

    def show(self, scores: ImageScores | None, *, progress: bool = True) -> Shown:
        """See `TrainedRun`: the whole, made smaller, and parts pixel by pixel."""
        picture = self.data.picture
        config = self.config
        return Shown(
            title=picture.name,
            views_title="Picture",
            truth="picture",
            views=[self._overview(scores), *self._zooms()],
            data={
                "size": f"{picture.width} x {picture.height}, {picture.width * picture.height / 1e6:.1f} megapixels",
                "values": f"{picture.pixels.dtype} [{picture.pixels.shape[2]}], "
                f"{'linear light' if picture.linear else 'sRGB'}",
                "learnt": f"{config.data.space}, {config.data.batch:,} pixels a step, {config.data.sampling}",
                "encoding": describe_encoding(config.model),
            },
            warnings=picture.warnings,
        )

    def _part(
        self, left: int, top: int, width: int, height: int,
        size: tuple[int, int] | None = None, rows: tuple[int, int] | None = None,
    ) -> Float[Tensor, "H W K"]:  # fmt: skip
        """Learnt values on a grid of columns and rows over a part, some of its rows."""
        n_columns, n_rows = size or (width, height)
        first, last = rows or (0, n_rows)
        x = (left + (torch.arange(n_columns, dtype=torch.float64) + 0.5) * (width / n_columns)) / self.data.side
        y = (top + (torch.arange(first, last, dtype=torch.float64) + 0.5) * (height / n_rows)) / self.data.side
        points = torch.stack([x.float().repeat(last - first), y.float().repeat_interleave(n_columns)]).t()
        return look_up(self.field, points).reshape(last - first, n_columns, -1)

    def _checked(self, crop: tuple[int, int, int, int] | None) -> tuple[int, int, int, int]:
        picture = self.data.picture
        left, top, width, height = crop or (0, 0, picture.width, picture.height)
        if not (0 <= left < left + width <= picture.width and 0 <= top < top + height <= picture.height):
            raise BadOption(
                f"--crop: {width} x {height} at {left}, {top} is not within {picture.width} x {picture.height} pixels"
            )
        return left, top, width, height

    def _overview(self, scores: ImageScores | None) -> View:
        picture = self.data.picture
        scale = min(1.0, OVERVIEW / max(picture.width, picture.height))
        columns, rows = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
        at = ((np.arange(rows) + 0.5) / scale).astype(int).clip(max=picture.height - 1)
        across = ((np.arange(columns) + 0.5) / scale).astype(int).clip(max=picture.width - 1)
        places = torch.from_numpy(np.stack(np.meshgrid(at, across, indexing="ij")).reshape(2, -1))
        values = look_up(self.field, self.data.positions(places[0], places[1])).reshape(rows, columns, -1)
        truth = self.data.values(picture.gather(places[0].numpy(), places[1].numpy()))
        return _view(
            "the whole" if scale == 1 else "the whole, every so-many-th pixel",
            self.data.shown(values), self.data.shown(truth.reshape(rows, columns, -1)),
            None if scores is None else scores.psnr, None if scores is None else scores.ssim,
        )  # fmt: skip

    def _zooms(self) -> Iterator[View]:
        """Parts where the picture has most detail, of a few evenly spaced ones."""
        picture = self.data.picture
        if min(picture.width, picture.height) < 2 * ZOOM:
            return
        found = []
        for y in np.linspace(0, picture.height - ZOOM, 6).astype(int):
            for x in np.linspace(0, picture.width - ZOOM, 6).astype(int):
                part = picture.pixels[y : y + ZOOM : 4, x : x + ZOOM : 4].astype(np.float32)
                found.append((float(np.abs(np.diff(part, axis=1)).mean()), int(x), int(y)))
        for _, x, y in sorted(found, reverse=True)[:3]:
            truth = self.data.values(picture.pixels[y : y + ZOOM, x : x + ZOOM])
            shown = self.data.shown(self._part(x, y, ZOOM, ZOOM))
            yield _view(f"{ZOOM} x {ZOOM} at {x}, {y}", shown, self.data.shown(truth))


def train(
    path: str | Path,
    config: ImageConfig | None = None,
    *,
    out: Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> ImageRun:
    """Trains an image on a picture file, or goes on with the run in `out`; see `image`."""
    folder = out or runs.default_folder(path, ImageRun.task)
    runs.refuse_foreign(folder)  # the picture is decoded into it
    return image(open_picture(path, folder / runs.CACHE), config=config, out=folder, overwrite=overwrite,
                 progress=progress)  # fmt: skip


def image(
    picture: Picture | Shaped[np.ndarray, "H W *C"],
    *,
    config: ImageConfig | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> ImageRun:
    """Trains an image, or goes on with the run in `out`; then scores it and writes a report.

    Args:
        picture: Of `neural.open_picture`, or uint8, uint16 or float32 [H, W] or [H, W, C].
        config: What is not said is chosen for the device and the picture.
        steps: In place of the configuration's.
        minutes: In place of the configuration's.
        out: Folder of the run; `runs/<picture>-image` without it. An existing run goes on.
        overwrite: Start anew.
        progress: Whether to draw progress bars.

    Returns:
        What was trained: `evaluate`, `render`, and `field` itself.

    Raises:
        SceneFormatError: The picture cannot be used.
        CheckpointError: The folder holds another run.
        TooLarge: A table that does not fit into memory.
        DivergenceError: The loss became NaN or Inf.
        Interrupted: A signal came; the state is saved.
    """
    whole = picture if isinstance(picture, Picture) else Picture.from_array(picture)
    asked = session.with_length(config or ImageConfig(), steps, minutes)
    folder = Path(out) if out is not None else runs.default_folder(whole.path or whole.name, ImageRun.task)
    if not overwrite:
        asked = session.as_long_as_stored(asked, folder)
    shown = _cropped(whole, asked)
    resolved = resolve(
        asked, session.choose_device(asked.run.device), width=shown.width, height=shown.height, linear=shown.linear
    )
    data = ImageData(shown, resolved.data, resolved.run.seed)
    device = torch.device(resolved.run.device)

    def build() -> ImageTask:
        field = build_field(resolved.model, 2, shown.n_colours, seed=resolved.run.seed)
        return ImageTask(field, data, resolved, device)

    return session.train(
        resolved, folder, _identity(whole), check=lambda: _check(shown), build=build,
        finish=lambda task: ImageRun(folder, resolved, task.averaged_field(), data),
        announce=lambda: _announce(shown, resolved, folder), overwrite=overwrite, progress=progress,
    )  # fmt: skip


def load_image(folder: Path, *, device: Literal["auto", "cpu", "cuda"] = "auto", scene: Any = None) -> ImageRun:
    """Takes up a trained image; see `neural.load_run`. `scene` is a picture or an array."""
    config, identity = session.read_stored(folder, ImageRun.task, ImageConfig)
    source = identity["scene"]
    if scene is None and not Path(source).is_file():
        raise session.gone(folder, "picture", source)
    whole = open_picture(source, folder / runs.CACHE) if scene is None else scene
    if not isinstance(whole, Picture):
        whole = Picture.from_array(np.asarray(whole))
    found = _identity(whole)
    if {name: found[name] for name in ("size", "digest")} != {name: identity.get(name) for name in ("size", "digest")}:
        raise CheckpointError(
            f"{folder}: {source} is not the picture that was trained: its size is {found['size']}, its digest "
            f"{found['digest']}, not {identity.get('size')} and {identity.get('digest')}; restore it"
        )
    shown = _cropped(whole, config)
    field = stored_field(folder, config, 2, shown.n_colours, device)
    return ImageRun(folder, config, field, ImageData(shown, config.data, config.run.seed))


def _identity(picture: Picture) -> dict[str, Any]:
    """What a resume compares: where the picture came from, its size, its bytes."""
    if picture.path is not None:
        source, digest = str(picture.path.resolve()), session.digest(picture.path)
    else:
        source, digest = picture.name, hashlib.blake2b(picture.pixels.tobytes()).hexdigest()[:32]
    return {"task": ImageRun.task, "scene": source, "size": [picture.width, picture.height], "digest": digest}


def _cropped(picture: Picture, config: ImageConfig) -> Picture:
    if config.data.crop is None:
        return picture
    try:
        return picture.cropped(*config.data.crop)
    except ValueError as error:
        raise BadOption(f"--data.crop: {error}") from error


def _check(picture: Picture) -> None:
    """Refuses a picture that shows nothing, or holds what no field can learn.

    Raises:
        SceneFormatError: Fully transparent, or values that are not finite.
    """
    transparent = picture.alpha
    for top, bottom in _bands(picture.height, picture.width, "", False):
        band = picture.pixels[top:bottom]
        if band.dtype == np.float32 and not np.isfinite(band).all():
            row, column = np.argwhere(~np.isfinite(band).all(-1))[0]
            raise _bad(
                picture, f"the pixel at {column}, {top + row} is NaN or Inf; mend it or leave it out by --data.crop"
            )
        transparent = transparent and not band[..., -1].any()
    if transparent:
        raise _bad(picture, "fully transparent; there is nothing to learn")


def _bad(picture: Picture, reason: str) -> SceneFormatError:
    return SceneFormatError(picture.path or picture.name, reason)


def _announce(picture: Picture, config: ImageConfig, folder: Path) -> str:
    kind = f"{picture.width} x {picture.height} {picture.pixels.dtype}"
    lines = [
        session.headline(f"{picture.name}: {kind}", config, folder),
        f"chosen: {describe_encoding(config.model)}, network {config.model.hidden_layers} x {config.model.width}, "
        f"{config.data.batch} pixels a step, {config.data.sampling}, {config.data.space}, loss {config.optim.loss}",
    ]
    return "\n".join([*lines, *(f"warning: {warning}" for warning in picture.warnings)])


def _bands(height: int, width: int, what: str, progress: bool) -> Iterator[tuple[int, int]]:
    """First row and row behind the last of bands of about `BAND_PIXELS` pixels."""
    rows = max(1, BAND_PIXELS // width)
    for top in tqdm(range(0, height, rows), desc=what, unit="band", disable=not progress, leave=False):
        yield top, min(top + rows, height)


def _bytes(shown: Tensor) -> np.ndarray:
    return (shown * 255 + 0.5).to(torch.uint8).numpy()


def _view(name: str, shown: Tensor, truth: Tensor, psnr: float | None = None, ssim: float | None = None) -> View:
    """Grey pictures are shown as colour."""
    image, target = (_bytes(x.expand(-1, -1, 3).contiguous()) for x in (shown, truth))
    if psnr is None:
        psnr = metrics.psnr(shown, truth)
        ssim = metrics.ssim(shown, truth)
    return View(name, image, target, psnr=psnr, ssim=ssim)
