"""The laws of the emulator; see `neural.emulator` for what they are and where they come from."""

import math
from dataclasses import dataclass, replace
from typing import Literal

FUSED_REST = 9.94
"""Speed-up of the kernels around encoding and MLP when they are fused into one. Source: the paper's abstract."""


@dataclass(frozen=True)
class Shape:
    """Of a neural field: a grid encoding and the layers behind it.

    Attributes:
        n_dims: Of a position.
        n_levels: Levels of the grid.
        n_features_per_level: Numbers per entry, 2 bytes each.
        log2_hashmap_size: Entries of a level at most, as a power of two.
        base_resolution: Cells along an edge of the coarsest level.
        per_level_scale: From one level's resolution to the next one's.
        layers: (inputs, outputs) of each matrix, of all networks that a sample passes.
        bytes_per_sample: What a sample moves between the GPU and a unit: position (and direction) in, values out.
    """

    n_dims: int
    n_levels: int
    n_features_per_level: int
    log2_hashmap_size: int
    base_resolution: int
    per_level_scale: float
    layers: tuple[tuple[int, int], ...]
    bytes_per_sample: int

    def __post_init__(self) -> None:
        sizes = (self.n_dims, self.n_levels, self.n_features_per_level, self.base_resolution, self.bytes_per_sample)
        if min(sizes) < 1 or self.log2_hashmap_size < 0 or self.per_level_scale < 1 or not self.layers:
            raise ValueError(f"Shape: sizes must be at least 1 and there must be a layer, got {self}")

    def level_bytes(self) -> tuple[int, ...]:
        """Of each level's table in half precision: a level whose lattice is smaller than 2^T is stored as it is."""
        cells = [self.base_resolution * self.per_level_scale**level for level in range(self.n_levels)]
        entries = [min(2**self.log2_hashmap_size, (math.floor(n) + 1) ** self.n_dims) for n in cells]
        return tuple(2 * self.n_features_per_level * n for n in entries)

    def missing_share(self, sram: int) -> float:
        """Share of all lookups that miss where each level has `sram` bytes, if every entry is as likely as any."""
        return sum(max(0.0, 1 - sram / size) for size in self.level_bytes()) / self.n_levels


@dataclass(frozen=True)
class Application:
    """One frame of an application, as measured without the accelerator.

    Attributes:
        name: As in a table.
        encode_seconds: In the encoding.
        mlp_seconds: In the networks.
        rest_seconds: In everything else.
        samples: Positions that were evaluated.
        shape: Of the field.
        rest_fused: How much faster the rest gets when it is one kernel.
    """

    name: str
    encode_seconds: float
    mlp_seconds: float
    rest_seconds: float
    samples: float
    shape: Shape
    rest_fused: float = FUSED_REST

    def __post_init__(self) -> None:
        times = (self.encode_seconds, self.mlp_seconds, self.rest_seconds)
        finite = all(math.isfinite(value) for value in (*times, self.samples, self.rest_fused))
        if not finite or min(times) < 0 or sum(times) <= 0 or self.samples <= 0 or self.rest_fused < 1:
            raise ValueError(
                f"Application {self.name}: times must not be negative nor all zero, samples positive and rest_fused at "
                f"least 1, got {times}, {self.samples} and {self.rest_fused}"
            )

    @property
    def seconds(self) -> float:
        return self.encode_seconds + self.mlp_seconds + self.rest_seconds

    @property
    def accelerated_share(self) -> float:
        """Share of the frame that the units take over: f of Amdahl's law."""
        return (self.encode_seconds + self.mlp_seconds) / self.seconds


@dataclass(frozen=True)
class Accelerator:
    """The chip, and what is asked of the comparison.

    Attributes:
        units: k, neural-field processors.
        clock: Hz; `neural.emulator.calibrated` finds it.
        engines: Of the encoding, per unit; each has the table of one level.
        sram: Bytes of an engine's memory.
        banks: Entries that an engine reads in one cycle.
        array: Inputs and outputs of the multiplier array.
        batches: Into which a frame is cut for the GPU and the units to overlap; 1 for no overlap at all. Ours: the
            paper says that batches overlap, not how many there are.
        table_misses: Count the lookups that an engine's memory cannot hold.
        fused_baseline: Compare with a GPU whose rest is fused, too.
    """

    units: int = 8
    clock: float = 1e9
    engines: int = 16
    sram: int = 2**20
    banks: int = 8
    array: int = 64
    batches: int = 16
    table_misses: bool = False
    fused_baseline: bool = False

    def __post_init__(self) -> None:
        sizes = (self.units, self.engines, self.sram, self.banks, self.array, self.batches)
        if min(sizes) < 1 or not (math.isfinite(self.clock) and self.clock > 0):
            raise ValueError(f"Accelerator: all counts must be at least 1 and the clock positive, got {self}")

    def encode_cycles(self, shape: Shape) -> float:
        """Of one sample in one unit. Fewer levels than engines: several samples at once."""
        at_once = self.engines // shape.n_levels
        turns = 1 / at_once if at_once else math.ceil(shape.n_levels / self.engines)
        return turns * math.ceil(2**shape.n_dims / self.banks)

    def mlp_cycles(self, shape: Shape) -> int:
        """Of one sample in one unit: a pass per layer, more where a layer is wider than the array."""
        return sum(math.ceil(n_in / self.array) * math.ceil(n_out / self.array) for n_in, n_out in shape.layers)


@dataclass(frozen=True)
class Prediction:
    """What the accelerator makes of a frame.

    Attributes:
        speed_up: Over the GPU alone.
        seconds: Of the frame.
        units_seconds: In the units, misses included.
        miss_seconds: Waiting for lookups that missed.
        gpu_seconds: In the fused rest.
        amdahl: The speed-up that no number of units exceeds.
        bound: What the frame waits for.
        bytes_per_frame: Between the GPU and the units.
    """

    speed_up: float
    seconds: float
    units_seconds: float
    miss_seconds: float
    gpu_seconds: float
    amdahl: float
    bound: Literal["rest", "units", "misses"]
    bytes_per_frame: float

    def bytes_per_second(self, frames_per_second: float = 60.0) -> float:
        """Between the GPU and the units."""
        return self.bytes_per_frame * frames_per_second


def predict(application: Application, accelerator: Accelerator) -> Prediction:
    """The frame of `application` on `accelerator`."""
    shape = application.shape
    cycles = max(accelerator.encode_cycles(shape), accelerator.mlp_cycles(shape))
    computing = application.samples * cycles / (accelerator.units * accelerator.clock)
    missing = application.encode_seconds * shape.missing_share(accelerator.sram) if accelerator.table_misses else 0.0
    units = computing + missing
    gpu = application.rest_seconds / application.rest_fused
    seconds = max(units, gpu) + min(units, gpu) / accelerator.batches
    before = application.seconds
    if accelerator.fused_baseline:
        before += gpu - application.rest_seconds
    bound: Literal["rest", "units", "misses"] = "rest"
    if units > gpu:
        bound = "misses" if missing > computing else "units"
    amdahl = before / gpu if gpu > 0 else math.inf
    return Prediction(
        before / seconds, seconds, units, missing, gpu, amdahl, bound, application.samples * shape.bytes_per_sample
    )


def plateau(application: Application, accelerator: Accelerator, largest: int = 4096) -> int | None:
    """The first power of two of units at which more of them do not shorten the frame any more: it waits for the rest.

    Returns:
        The count; None if it takes more than `largest`, as where lookups miss.
    """
    units = 1
    while units <= largest:
        if predict(application, replace(accelerator, units=units)).bound == "rest":
            return units
        units *= 2
    return None
