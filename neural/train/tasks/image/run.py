"""Images from the outside: train one, take a run up again, score it, render any part of it at any size."""

import hashlib
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Shaped
from torch import nn

from neural import atomic, metrics, png, runs
from neural.errors import BadOption, CheckpointError, SceneFormatError
from neural.scenes.pictures.picture import Picture, open_picture
from neural.train import session
from neural.train.film import to_bytes
from neural.train.tasks.field.encoding_config import describe_encoding
from neural.train.tasks.field.encodings import build_field
from neural.train.tasks.field.run import FieldRun, half_precision, stored_field
from neural.train.tasks.image import codecs
from neural.train.tasks.image.config import ImageConfig, resolve
from neural.train.tasks.image.data import ImageData
from neural.train.tasks.image.pictures import bands, overview, part, zooms
from neural.train.tasks.image.scores import ImageScores
from neural.train.tasks.image.task import ImageTask
from neural.train.trained import Shown

MAX_SIDE = 1 << 20  # pixels of a rendering


class ImageRun(FieldRun):
    """A trained image with its picture and folder.

    What is kept is a checkpoint of fp32 values, with no quantised file of it: that would need steps and an entropy code
    for every table, and a reader that decodes them. A small picture takes more than the JPEG that is as good, and the
    defaults are for large ones; `evaluate` says both sizes.

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
        for top, bottom in bands(picture.height, picture.width, "evaluating", progress):
            shown = self.data.shown(part(self.field, self.data, (0, top, picture.width, bottom - top)))
            scores.add(shown, self.data.shown(self.data.rows(top, bottom)))
        result = ImageScores(
            picture.width, picture.height, scores.psnr, scores.ssim, scores.ms_ssim,
            sum(p.numel() for p in self.field.parameters()), len(zlib.compress(half_precision(self.field), 6)),
            tuple(codecs.at_equal_psnr(
                codecs.mosaic(lambda top, bottom: to_bytes(self.data.shown(self.data.rows(top, bottom))),
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
        place = _, _, width, height = self._checked(crop)
        scale = 1.0 if size is None else size / max(width, height)
        if size is not None and not 1 <= size <= MAX_SIDE:
            raise BadOption(f"--size must be 1 to {MAX_SIDE} pixels, got {size}")
        columns, rows = max(1, round(width * scale)), max(1, round(height * scale))
        strips = (
            to_bytes(self.data.shown(part(self.field, self.data, place, (columns, rows), (first, last))))
            for first, last in bands(rows, columns, "rendering", progress)
        )
        target.parent.mkdir(parents=True, exist_ok=True)
        png.write(target, columns, rows, strips)
        print(f"{columns} x {rows} pixels in {target}")
        return target

    def show(self, scores: ImageScores | None, *, progress: bool = True) -> Shown:
        """See `TrainedRun`: the whole, made smaller, and parts pixel by pixel."""
        picture = self.data.picture
        config = self.config
        known = (None, None) if scores is None else (scores.psnr, scores.ssim)
        return Shown(
            title=picture.name,
            views_title="Picture",
            truth="picture",
            views=[overview(self.field, self.data, *known), *zooms(self.field, self.data)],
            data={
                "size": f"{picture.width} x {picture.height}, {picture.width * picture.height / 1e6:.1f} megapixels",
                "values": f"{picture.pixels.dtype} [{picture.pixels.shape[2]}], "
                f"{'linear light' if picture.linear else 'sRGB'}",
                "learnt": f"{config.data.space}, {config.data.batch:,} pixels a step, {config.data.sampling}",
                "encoding": describe_encoding(config.model),
            },
            warnings=picture.warnings,
        )

    def _checked(self, crop: tuple[int, int, int, int] | None) -> tuple[int, int, int, int]:
        picture = self.data.picture
        left, top, width, height = crop or (0, 0, picture.width, picture.height)
        if not (0 <= left < left + width <= picture.width and 0 <= top < top + height <= picture.height):
            raise BadOption(
                f"--crop: {width} x {height} at {left}, {top} is not within {picture.width} x {picture.height} pixels"
            )
        return left, top, width, height


def train(
    path: str | Path,
    config: ImageConfig | None = None,
    *,
    out: Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
    watch: session.Watch | None = None,
) -> ImageRun:
    """Trains an image on a picture file, or goes on with the run in `out`; see `image`."""
    folder = out or runs.default_folder(path, ImageRun.task)
    runs.refuse_foreign(folder)  # the picture is decoded into it
    picture = open_picture(path, folder / runs.CACHE)
    return image(picture, config=config, out=folder, overwrite=overwrite, progress=progress, watch=watch)


def image(
    picture: Picture | Shaped[np.ndarray, "H W *C"],
    *,
    config: ImageConfig | None = None,
    steps: int | None = None,
    minutes: float | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
    watch: session.Watch | None = None,
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
        watch: Someone who looks on; see `neural.viewer.live.watch`.

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
        announce=lambda: _announce(shown, resolved, folder), overwrite=overwrite, progress=progress, watch=watch,
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
    for top, bottom in bands(picture.height, picture.width, "", False):
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
