"""A million generated Gaussians written to every format and read again: seconds on all cores, and sizes.

The scene is a shell with clumps; harmonics are smooth with noise, many of them dull, as those of trained scenes are.
Sizes and errors are held to the reference writer's, see `tests.bench.reference_writer`.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from neural.export import levels
from neural.gaussians.decimate import decimated
from neural.scenes.files.gaussians import formats
from neural.scenes.files.gaussians.record import SH_COUNTS, SplatRecord
from neural.scenes.files.gaussians.sog import streamed_sog
from tests.bench import reference_writer
from tests.bench.harness import Row, Size, Spread

# ending, SH degree, seconds to write and to read at most; None where the issue names no bar
WORK: tuple[tuple[str, int, float | None, float | None], ...] = (
    (".ply", 3, 2, 1),
    (".spz", 3, 6, 2),
    (".sog", 0, 10, 3),
    (".sog", 3, 90, 3),
    (".compressed.ply", 3, None, None),
    (".glb", 3, None, None),
)


def run(size: Size) -> list[Row]:
    n = 1_000_000 if size == "full" else 2000
    with tempfile.TemporaryDirectory() as folder:
        return [
            *speed(Path(folder), n),
            *streams(Path(folder), n // 10),
            *reference_writer.rows(Path(folder), size, generated),
        ]


def speed(folder: Path, n: int) -> list[Row]:
    """Wall time: writers compress on all cores."""
    rows = []
    for ending, degree, to_write, to_read in WORK:
        record, path = generated(n, degree), folder / f"a{ending}"
        name = f"{ending} SH {degree}, {n:,}"
        rows.append(Row(f"write {name}", seconds(lambda r=record, p=path: formats.write(p, r)), "s", at_most=to_write))
        megabytes = path.stat().st_size / 1e6
        note = f"{megabytes:.1f} MB, {path.stat().st_size / n:.1f} bytes a Gaussian"
        rows.append(Row(f"read {name}", seconds(lambda p=path: formats.read(p)), "s", at_most=to_read, note=note))
    return rows


def streams(folder: Path, n: int) -> list[Row]:
    """Levels of detail, and a streamed SOG of them, SH 0."""
    record = generated(n, 0)
    made = levels(record, max(n // 8, 1))
    return [
        Row(f"decimate to half, {n:,}", seconds(lambda: decimated(record, n // 2)), "s"),
        Row(
            f"write lod-meta.json SH 0, {n:,}",
            seconds(lambda: streamed_sog.write(folder / "lod-meta.json", made)), "s", note=f"{len(made)} levels",
        ),
    ]  # fmt: skip


def generated(n: int, degree: int) -> SplatRecord:
    """A shell with clumps on it."""
    random = np.random.default_rng(0)
    means = random.normal(size=(n, 3))
    means *= (3 + 0.2 * random.normal(size=(n, 1)) ** 3) / np.linalg.norm(means, axis=1, keepdims=True)
    lively = random.random((n, 1)) ** 4
    rest = lively * random.normal(size=(n, 6)) @ random.normal(size=(6, 3 * SH_COUNTS[degree])) * 0.2
    arrays = {
        "means": means,
        "quats": random.normal(size=(n, 4)),
        "log_scales": random.normal(size=(n, 3)) * 0.6 - 5,
        "opacity_logits": random.normal(size=n) * 2,
        "sh0": np.sin(means * 2) + 0.2 * random.normal(size=(n, 3)),
        "shN": rest.reshape(n, SH_COUNTS[degree], 3),
    }
    return SplatRecord(**{name: array.astype(np.float32) for name, array in arrays.items()})  # type: ignore[arg-type]


def seconds(work: Callable[[], object], rounds: int = 3) -> Spread:
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
        if sum(taken) > 30:
            break
    return Spread.of(taken)
