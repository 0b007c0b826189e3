"""Training of one large image: simplex against hash, ours against plain torch, and the time to 35 dB.

The picture is the shaded relief of 58 megapixels. Simplex and hash have equal bounds on a level's table and the same
finest longest edge; a dense level of simplices holds more vertices, so that for equal numbers of parameters there is a
level less of them and the coarsest is coarser. They take equal steps; the scores after them are of the same pixels. The
time to 35 dB is of a crop of 20 megapixels; plain torch takes the same steps, each as long as it takes.
"""

import os
import time
from pathlib import Path

import numpy as np
import torch

from neural.scenes.pictures.picture import Picture, open_picture
from neural.train.config import BaseRunConfig
from neural.train.tasks.field.config import FieldConfig
from neural.train.tasks.field.encodings import build_field
from neural.train.tasks.image.config import ImageConfig, ImageDataConfig, resolve
from neural.train.tasks.image.data import ImageData
from neural.train.tasks.image.task import ImageTask
from tests.bench.harness import Row, Size, Spread, Times, interleave, threads
from tests.bench.plain_image import PlainImage

CROP = (4900, 400, 5400, 3700)  # 20 megapixels: Europe, Africa and Asia
LARGE = {"n_levels": 8, "log2_hashmap_size": 22, "base_resolution": 64}  # a table that holds 35 dB of the crop
LESS_TIME = round(1 / (1 - 0.086), 3)  # 8.6 % less time, the paper's own pair of times
TARGET = 35.0  # dB
TARGET_STEPS = 1500  # of the schedule: the rate falls towards the end
QUALITY_STEPS = 1000
SETTLED = 30  # steps before any is timed
SEARCH = 100  # steps between two looks at the score


def run(size: Size) -> list[Row]:
    folder = os.environ.get("NEURAL_DATA")
    if size == "full" and not folder:
        return [
            Row("step: hash over simplex", None, "x", at_least=LESS_TIME, note="needs NEURAL_DATA"),
            Row("to 35 dB: over plain torch", None, "x", at_least=8.0, note="needs NEURAL_DATA"),
        ]
    picture = _picture(size, folder)
    with threads(1):
        rows = _simplex(size, picture)
    return [*rows, *_against_plain(size, picture)]


def _picture(size: Size, folder: str | None) -> Picture:
    if size == "full":
        return open_picture(Path(folder or "") / "images" / "shadedrelief_10800x5400.jpg")
    y, x = np.mgrid[:96, :128]
    return Picture.from_array(
        (127 + 100 * np.sin(x / 5)[..., None] * np.cos(y[..., None] / [3, 4, 5])).astype(np.uint8)
    )


def _task(size: Size, picture: Picture, encoding: str = "hash", steps: int = QUALITY_STEPS, **model: int) -> ImageTask:
    small = {"n_levels": 4, "log2_hashmap_size": 10} if size == "tiny" else {}
    config = ImageConfig(
        model=FieldConfig(encoding=encoding, **(small | model)),  # type: ignore[arg-type]
        data=ImageDataConfig(batch=1 << 16 if size == "full" else 256), run=BaseRunConfig(steps=steps),
    )  # fmt: skip
    config = resolve(config, "cpu", width=picture.width, height=picture.height, linear=picture.linear)
    field = build_field(config.model, 2, picture.n_colours, seed=0)
    return ImageTask(field, ImageData(picture, config.data, 0), config, torch.device("cpu"))


class _Steps:
    """The steps of a task, one after the other."""

    def __init__(self, task: ImageTask, steps: int) -> None:
        self.task, self.steps, self.done = task, steps, 0

    def __call__(self) -> None:
        self.task.step(self.done, self.steps)
        self.done += 1


def _simplex(size: Size, picture: Picture) -> list[Row]:
    """Step times in turns, shares of the encoding, scores after equal steps."""
    steps, repeats = (QUALITY_STEPS, 25) if size == "full" else (4, 2)
    tasks = {"hash": _task(size, picture, "hash", steps)}
    tasks["simplex"] = _no_larger(size, picture, tasks["hash"], steps)
    takes = {kind: _Steps(task, steps) for kind, task in tasks.items()}
    for take in takes.values():
        for _ in range(SETTLED if size == "full" else 1):
            take()
    times = interleave(takes, repeats)
    rows = []
    for kind, take in takes.items():
        count = _parameters(take.task)
        _encoding_seconds(take.task)  # the first backward pass of a process takes longer
        share = Spread.of([_encoding_seconds(take.task) / times.of(kind, 1.0).median for _ in range(repeats)])
        rows += [
            Row(f"{kind}: step", times.of(kind), "ms", note=f"CPU time, 1 thread, {count:,} parameters"),
            Row(f"{kind}: encoding's share of the step", share.scaled(100), "%", note="forward and backward"),
        ]
    rows.append(
        Row("step: hash over simplex", times.ratio("hash", "simplex"), "x", at_least=LESS_TIME,
            note="1.094 is 8.6 % less time")
    )  # fmt: skip
    scores = {kind: _score(take, steps) for kind, take in takes.items()}
    for kind, score in scores.items():
        rows.append(Row(f"{kind}: PSNR after {steps} steps", Spread.of([score]), "dB"))
    above = Spread.of([scores["simplex"] - scores["hash"]])
    return [*rows, Row("simplex: PSNR above hash", above, "dB", at_least=-0.1)]


def _no_larger(size: Size, picture: Picture, grid: ImageTask, steps: int) -> ImageTask:
    """A simplex task of no more parameters than the hash grid's: a level less, and the coarsest one made coarser."""
    levels, base = (grid.config.model.n_levels or 2) - 1, grid.config.model.base_resolution or 2
    while True:
        task = _task(size, picture, "simplex", steps, n_levels=levels, base_resolution=base)
        if _parameters(task) <= _parameters(grid) or base == 2:
            return task
        base -= 1


def _parameters(task: ImageTask) -> int:
    return sum(p.numel() for p in task.field.parameters())


def _encoding_seconds(task: ImageTask) -> float:
    """CPU time of the encoding's two passes on a step's batch; the gradients are forgotten."""
    encoding = task.field.encoding
    positions, _ = task.data.draw(0)
    start = time.process_time()
    features = encoding(positions)  # type: ignore[operator]
    features.backward(torch.ones_like(features))
    seconds = time.process_time() - start
    task.optimiser.zero_grad()
    return seconds


def _score(take: _Steps, steps: int) -> float:
    while take.done < steps:
        take()
    return take.task.validate(steps)["check_psnr"]


def _against_plain(size: Size, picture: Picture) -> list[Row]:
    """Steps to 35 dB of a crop and their time, and a step's time beside both plain forms."""
    crop = picture.cropped(*CROP) if size == "full" else picture
    repeats, search, target = (5, SEARCH, TARGET) if size == "full" else (2, 2, 5.0)
    large = LARGE if size == "full" else {}
    steps = TARGET_STEPS if size == "full" else 4
    task = _task(size, crop, steps=steps, **large)
    plain = {form: PlainImage(task, form) for form in ("vectorised", "per_corner")}  # type: ignore[arg-type]
    take = _Steps(task, steps)
    score, seconds = 0.0, 0.0
    while score < target and take.done < steps:
        start = time.perf_counter()
        for _ in range(search):
            take()
        seconds += time.perf_counter() - start
        score = task.validate(take.done)["check_psnr"]
    counter = iter(range(1 << 30))
    work = {"neural": take, **{name: (lambda p=p: p.step(next(counter))) for name, p in plain.items()}}  # type: ignore[misc]
    times: Times = interleave(work, repeats, clock=time.perf_counter)
    faster = times.fastest(list(plain))
    reached = f"{score:.2f} dB after {take.done} steps of {picture.name}"
    n = torch.get_num_threads()
    return [
        Row(f"{crop.width * crop.height / 1e6:.0f} megapixels to {target:g} dB", Spread.of([seconds]), "s",
            note=f"{reached}, {n} threads, without decoding"),
        Row("PSNR reached", Spread.of([score]), "dB", at_least=target),
        Row("step, neural", times.of("neural"), "ms", note=f"wall, {n} threads"),
        *[Row(f"step, plain torch, {name}", times.of(name), "ms") for name in plain],
        Row("to 35 dB: over plain torch", times.ratio(faster, "neural"), "x", at_least=8.0,
            note=f"against {faster}, equal steps"),
    ]  # fmt: skip
