"""The accelerator's emulator: its figures beside the paper's, what the known holes take away, and our own times in it.

Our own times are the cells of the newest matrix that `tests.bench.applications` has kept: those of the paper's
encodings, their tables taken to be as large as the paper's. A GPU stands beside the paper's units, so times of a CPU
are of little use but to see the shares.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from neural.emulator import Accelerator, Application, calibrated, paper_applications, plateau, predict
from neural.emulator.paper import (
    CLAIMED,
    CLAIMED_GB_PER_SECOND,
    CLAIMED_MAX,
    CLAIMED_PLATEAU,
    SHARES,
    UNITS,
    mean_speed_ups,
    shape,
)
from tests.bench.harness import Row, Size, Spread

RESULTS = Path(__file__).with_name("results")
IN_THE_PAPER = {"radiance": "NeRF", "sdf": "NSDF", "image": "GIA", "volume": "NVR"}


def run(size: Size) -> list[Row]:
    """Takes no time at any size."""
    chip = calibrated()
    rows = [Row("calibrated clock", _exactly(chip.clock / 1e9), "GHz", note="not stated in the paper")]
    for encoding, claimed in CLAIMED.items():
        found = mean_speed_ups(paper_applications(encoding), chip)
        marks = "recalled; 12, 20, 33, 39 in the abstract" if encoding == "hash" else "recalled; not calibrated on"
        for units, mine, theirs in zip(UNITS, found, claimed, strict=True):
            rows.append(_beside(f"{encoding}, {units} units: mean", mine, theirs, marks))
    full = replace(chip, units=64)
    applications = paper_applications()
    rows.append(_beside("hash, largest", max(predict(a, full).speed_up for a in applications), CLAIMED_MAX, "recalled"))
    rows += [_of(application, chip) for application in applications]
    busiest = max(predict(a, chip).bytes_per_second() for a in applications) / 1e9
    rows.append(_beside("traffic at 60 FPS, largest", busiest, CLAIMED_GB_PER_SECOND[1], "second hand", "GB/s"))
    for name, switched in _holes(full).items():
        mean = sum(predict(a, switched).speed_up for a in applications) / len(applications)
        rows.append(Row(f"hash, 64 units, {name}: mean", _exactly(mean), "x", note="a hole of the paper's comparison"))
    return rows + [_of(application, chip) for application in newest_applications(RESULTS)]


def newest_applications(folder: Path) -> list[Application]:
    """Our own applications, as the newest matrix in the folder has them."""
    kept = sorted(folder.glob("applications-*.json"), key=lambda path: path.stem[-10:])  # names end in a date
    return applications_of(json.loads(kept[-1].read_text())["cells"]) if kept else []


def applications_of(cells: Iterable[Mapping[str, Any]]) -> list[Application]:
    """Those cells of a matrix that the paper has, too; one without a count of samples is of an older matrix."""
    return [
        Application(
            f"our {cell['application']}, {cell['setting']}",
            cell["ms"] / 1e3 * cell["encoding_share"] / 100,
            cell["ms"] / 1e3 * cell["network_share"] / 100,
            cell["ms"] / 1e3 * cell["rest_share"] / 100,
            cell["samples"],
            shape(IN_THE_PAPER[cell["application"]], cell["setting"]),
        )
        for cell in cells
        if cell["application"] in IN_THE_PAPER and cell["setting"] in SHARES and cell.get("samples")
    ]


def _holes(chip: Accelerator) -> dict[str, Accelerator]:
    return {
        "tables beyond SRAM miss": replace(chip, table_misses=True),
        "baseline fused, too": replace(chip, fused_baseline=True),
        "both": replace(chip, table_misses=True, fused_baseline=True),
    }


def _of(application: Application, chip: Accelerator) -> Row:
    found = [predict(application, replace(chip, units=units)) for units in UNITS]
    levels_off = plateau(application, chip)
    claimed = CLAIMED_PLATEAU.get(application.name)
    note = (
        f"{', '.join(f'{p.speed_up:.1f}' for p in found)} x at {', '.join(map(str, UNITS))}; "
        f"f = {application.accelerated_share:.1%}, Amdahl {found[-1].amdahl:.1f}; levels off at {levels_off}"
        f"{f', {claimed} in the paper' if claimed else ''}; {found[-1].bytes_per_second() / 1e9:.1f} GB/s at 60 FPS"
    )
    return Row(f"{application.name}, 64 units", _exactly(found[-1].speed_up), "x", note=note)


def _beside(name: str, mine: float, theirs: float, mark: str, unit: str = "x") -> Row:
    return Row(name, _exactly(mine), unit, note=f"paper {theirs:g} ({mark}), {mine / theirs - 1:+.1%}")


def _exactly(value: float) -> Spread:
    return Spread.of([value])
