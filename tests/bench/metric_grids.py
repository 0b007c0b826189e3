"""Metric grids against hash grids of equal parameters: quality on photographs, and what a step of either takes.

All learn the same pixels in the same order by the published rule (squared error, every pixel once per round, Adam with
betas 0.9 and 0.99 and epsilon 1e-15, a cosine to a hundredth), for as many steps. Ours: how few, and so the learning
rates, each contender's best on kodim05 and kodim23 at 1000 steps of 2^14 pixels. Metric grids: 1e-2 for the table
and 1e-3 for the decoder (tried: 1e-3, 1e-2, 2e-2, 3e-2 and 1e-3, 2e-3, 3e-3; the published 1e-3 for both wants its
20,000 steps of 2^18 pixels). Hash grids: 1e-2 for both (tried: 1e-3, 3e-3 with 1e-2 and 3e-2 for the table, 1e-2).

The metric grids are the published 206,403 parameters. One hash grid has the same levels, the other levels that suit a
hash grid of as many parameters better (fewer and finer ones, of those tried the best); their networks of ReLU, with
biases, are of the decoder's size.
"""

import math
import os
import time
from collections.abc import Mapping
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neural import metrics
from neural.cuda import native
from neural.cuda.modulated_sine import modulated_sine
from neural.encodings.hash_grid import HashGrid
from neural.encodings.metric_grids import MetricGrids
from neural.fields.metric import MetricField
from neural.mlp import MLP
from neural.optim import Adam
from neural.scenes.pictures.picture import open_picture
from neural.train.tasks.field.groups import field_groups
from tests.bench.harness import Row, Size, Spread, interleave, threads

BAR = 1.5  # dB
STEPS, BATCH = 500, 1 << 14
LR = 1e-2  # of tables and of networks of ReLU; a decoder of sines takes a tenth


def run(size: Size) -> list[Row]:
    return [*_quality(size), *_speed(size)]


class _HashField(nn.Module):
    """A hash grid and a network of five hidden layers with biases."""

    def __init__(self, n_levels: int, finest_resolution: int) -> None:
        super().__init__()
        self.encoding = HashGrid(2, n_levels=n_levels, log2_hashmap_size=14, finest_resolution=finest_resolution)
        self.mlp = MLP(self.encoding.n_output_dims, 3, n_hidden_layers=5, bias=True)

    def forward(self, x: Float[Tensor, "N 2"]) -> Float[Tensor, "N 3"]:
        return self.mlp(self.encoding(x))


METRIC, HASH, TUNED = "metric grids", "hash grid, same levels", "hash grid, its best levels"
CONTENDERS = {METRIC: lambda: MetricField(MetricGrids(2), 3), HASH: lambda: _HashField(13, 256),
              TUNED: lambda: _HashField(10, 512)}  # fmt: skip


def _quality(size: Size) -> list[Row]:
    pictures = _pictures(size)
    if not pictures:
        return [Row("Kodak: metric grids above a hash grid", None, "dB", at_least=BAR, note="needs NEURAL_DATA")]
    steps, batch = (STEPS, BATCH) if size == "full" else (10, 256)
    rows, gains, counts = [], {HASH: [], TUNED: []}, {}
    for name, picture in pictures.items():
        scores, seconds = {}, {}
        for contender, make in CONTENDERS.items():
            field = make()
            scores[contender], seconds[contender] = train(field, picture, steps, batch)
            counts[contender] = sum(p.numel() for p in field.parameters())
        for other, found in gains.items():
            found.append(scores[METRIC] - scores[other])
        for contender, psnr in scores.items():
            rows.append(Row(f"{name}: {contender}", Spread.of([psnr]), "dB", note=f"{seconds[contender]:.0f} s of CPU"))
    bars: Mapping[str, float | None] = {HASH: BAR if size == "full" else None, TUNED: None}
    for other, found in gains.items():
        note = f"mean; {counts[METRIC]:,} against {counts[other]:,} parameters; {steps} steps of {batch} pixels"
        rows.append(
            Row(f"metric grids above {other}", Spread.of([sum(found) / len(found)]), "dB", bars[other], note=note)
        )
    return rows


def train(field: nn.Module, picture: Tensor, steps: int, batch: int) -> tuple[float, float]:
    """PSNR of 8-bit colours, and CPU seconds of the training."""
    height, width, _ = picture.shape
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    places = ((torch.stack([columns, rows]).flatten(1) + 0.5) / max(height, width)).T  # square cells
    colours = picture.flatten(0, 1)
    optimiser = Adam(field_groups(field, lr=LR, l2=0.0, ema=None, betas=(0.9, 0.99), eps=1e-15))
    generator = torch.Generator().manual_seed(0)
    started, order = time.process_time(), torch.empty(0, dtype=torch.int64)
    for step in range(steps):
        if len(order) < batch:
            order = torch.randperm(len(colours), generator=generator)
        chosen, order = order[:batch], order[batch:]
        (field(places[chosen]) - colours[chosen]).square().mean().backward()
        optimiser.step(0.01 + 0.99 * (1 + math.cos(math.pi * step / steps)) / 2)
    seconds = time.process_time() - started
    with torch.no_grad():
        shown = torch.cat([field(part) for part in places.split(1 << 16)]).clamp(0, 1)
    return metrics.psnr((shown * 255).round().reshape(picture.shape) / 255, picture), seconds


def _pictures(size: Size) -> dict[str, Tensor]:
    """Name and colours [H, W, 3] of each; noise in place of photographs at size tiny."""
    if size == "tiny":
        return {"noise": torch.rand(16, 24, 3, generator=torch.Generator().manual_seed(0))}
    folder = Path(os.environ.get("NEURAL_DATA", "")) / "images" / "kodak"
    paths = sorted(folder.glob("*.png")) if os.environ.get("NEURAL_DATA") else []
    return {path.stem: torch.from_numpy(open_picture(path).pixels[...] / 255.0).float() for path in paths}


def _speed(size: Size) -> list[Row]:
    n, repeats = (1 << 18, 5) if size == "full" else (256, 2)
    field = MetricField(MetricGrids(2), 3)
    with torch.no_grad():
        field.encoding.table.mul_(1e3)
    spec, params = field.decoder.spec, field.decoder.params
    x = torch.rand(2, n, generator=torch.Generator().manual_seed(0)).T
    features = field.encoding.features(x).detach().requires_grad_()
    upstream = torch.rand(3, n, generator=torch.Generator().manual_seed(1)).T

    def decode() -> None:
        modulated_sine(x, features, params, spec).backward(upstream)
        params.grad = features.grad = None

    def whole() -> None:
        field(x).backward(upstream)
        params.grad = field.encoding.table.grad = None

    flop = {"fma": 0.0, "decoder": 8.0 * n * sum(a * b for a, b in spec.shapes)}

    def peak() -> None:
        flop["fma"] = native.lib.fma_peak(4_000_000 if size == "full" else 1000)

    with threads(1):
        native.retain_heap()
        times = interleave({"decoder": decode, "field": whole, "fma": peak}, repeats)
    # forward, the same again in the backward pass, and twice as much for both gradients; sines are left out
    share = times.ratio("fma", "decoder").scaled(100 * flop["decoder"] / flop["fma"])
    note = f"{n} samples, forward and backward, 1 thread"
    return [
        Row("decoder of 19,779 parameters", times.of("decoder"), "ms", note=note),
        Row("decoder, multiply-adds of its matrices alone", share, "%", note="of the core's rate; sines come on top"),
        Row("field of 206,403 parameters", times.of("field"), "ms", note=note),
    ]
