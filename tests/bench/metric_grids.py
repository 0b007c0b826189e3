"""Metric grids against a hash grid of equal parameters: quality on photographs, and what a step of either takes.

Both are trained by `neural.train.image`: the same pixels in the same order, as many steps, Adam with the published
betas and epsilon. The metric grids are the published 206,403 parameters (13 levels of 2 features, 16 to 256, 2^14
entries, a decoder of 4 x 64 sines), at a learning rate of 1e-2 for the table and 1e-3 for the decoder (published: 1e-3
for both, over 20,000 steps of 2^18 pixels; at 1/1300 of that, 1e-3 leaves the table of either contender untrained).
The hash grid has the same table and a network of 5 x 64 ReLU, which fills up the parameters to within 1 %, at 1e-2: the
best for it of 1e-3, 3e-3 with tables at 1e-2 and 3e-2, 1e-2 and 2e-2 (tried on kodim05 and kodim23).
"""

import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

import neural
from neural.cuda import native
from neural.cuda.modulated_sine import modulated_sine
from neural.encodings.metric_grids import MetricGrids
from neural.fields.metric import MetricField
from neural.scenes.pictures.picture import Picture, open_picture
from neural.train.config import BaseRunConfig
from neural.train.field_config import FieldConfig
from neural.train.image_config import ImageConfig, ImageDataConfig, ImageOptimConfig
from tests.bench.harness import Row, Size, Spread, interleave, threads

BAR = 1.5  # dB
STEPS, BATCH = 1000, 1 << 14
GRID = FieldConfig(
    n_levels=13, n_features_per_level=2, log2_hashmap_size=14, base_resolution=16, finest_resolution=256
)  # fmt: skip
MODELS = {"metric grids": replace(GRID, encoding="metric"), "hash grid": replace(GRID, hidden_layers=5)}


def run(size: Size) -> list[Row]:
    return _quality(size) + _speed(size)


def _quality(size: Size) -> list[Row]:
    pictures = _pictures(size)
    if not pictures:
        return [Row("Kodak: metric grids above the hash grid", None, "dB", at_least=BAR, note="needs NEURAL_DATA")]
    steps, batch = (STEPS, BATCH) if size == "full" else (20, 512)
    rows, gains, counts = [], [], {}
    for name, picture in pictures.items():
        scores, times = {}, {}
        for contender, model in MODELS.items():
            scores[contender], times[contender], counts[contender] = _train(picture, model, steps, batch)
        gains.append(scores["metric grids"] - scores["hash grid"])
        values = ", ".join(f"{contender} {score:.2f} ({times[contender]:.0f} s)" for contender, score in scores.items())
        rows.append(Row(f"{name}: above the hash grid", Spread.of(gains[-1:]), "dB", note=values))
    sizes = " against ".join(f"{n:,}" for n in counts.values())
    note = f"mean of {len(gains)}; {sizes} parameters; {steps} steps of {batch} pixels"
    bar = BAR if size == "full" else None
    rows.append(
        Row("Kodak: metric grids above the hash grid", Spread.of([sum(gains) / len(gains)]), "dB", bar, note=note)
    )
    return rows


def _train(picture: Picture, model: FieldConfig, steps: int, batch: int) -> tuple[float, float, int]:
    """PSNR, CPU seconds of the training, parameters."""
    config = ImageConfig(
        model=model, data=ImageDataConfig(batch=batch), optim=ImageOptimConfig(l2=0.0),
        run=BaseRunConfig(steps=steps, device="cpu"),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        trained = neural.train.image(picture, config=config, out=Path(folder) / "run", progress=False)
        seconds = time.process_time() - started
        psnr = trained.evaluate(progress=False).psnr
    return psnr, seconds, sum(p.numel() for p in trained.field.parameters())


def _pictures(size: Size) -> dict[str, Picture]:
    """Name and picture of each; waves in place of photographs at size tiny."""
    if size == "tiny":
        waves = (torch.rand(32, 48, 3, generator=torch.Generator().manual_seed(0)) * 255).byte()
        return {"noise": Picture.from_array(waves.numpy())}
    folder = Path(os.environ.get("NEURAL_DATA", "")) / "images" / "kodak"
    return {path.stem: open_picture(path) for path in sorted(folder.glob("*.png"))} if folder.is_dir() else {}


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
