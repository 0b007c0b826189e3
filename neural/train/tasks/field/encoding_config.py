"""Which encoding a field reads its input through, and the sizes chosen where none are asked for.

A new kind is a name in `Kind` and a row of `DEFAULTS` here, and a builder in `neural.train.tasks.field.encodings`. No
torch: the command line is made from this.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal, TypeVar, get_args

Kind = Literal[
    "hash", "dense", "lowres", "tiled", "simplex", "kuhn", "permutohedral", "metric", "probed", "scalable", "frequency",
    "triangle", "oneblob",
]  # fmt: skip
KINDS: tuple[str, ...] = get_args(Kind)
WAVES = {"frequency": "octaves", "triangle": "octaves", "oneblob": "bins"}  # kinds without a table: what is counted
PROBES = (2, 4, 8, 16)
SMALLEST_LOG2_SIZE = 8
LARGEST_CODEBOOK = 16  # as a power of two, where none is asked for: a step looks at all codes


@dataclass(frozen=True)
class EncodingConfig:
    """The encoding; what is None suits its kind, the task and the device."""

    encoding: Kind = "hash"
    """Multi-resolution hash grid; "dense": multi-resolution grid without hashing; "lowres": two levels of one low
    resolution; "tiled": levels that repeat one tile; "simplex", "kuhn", "permutohedral": a hash grid of simplices,
    skewed, cut from cubes, or turned and shifted at random; "metric": one hash grid read at three metrics, with a
    decoder of its own where the task is no radiance field; "probed": a hash grid that learns, for groups of vertices,
    which of a few entries they use; "scalable": a hash grid per cell of space, made where data lies (no radiance
    field); "frequency": sines and cosines; "triangle": triangle waves; "oneblob": where each
    coordinate lies among bins."""
    n_levels: int | None = None
    """Levels of the grid; of "frequency" and "triangle" the number of octaves, of "oneblob" that of bins."""
    n_features_per_level: int | None = None
    """Features per grid entry: 1, 2, 4 or 8."""
    log2_hashmap_size: int | None = None
    """Entries per level at most, as a power of two; on a CPU few enough to stay near the caches. Of "scalable" those of
    all cells, 2^8 each at least."""
    table_precision: Literal["float32", "float16", "bfloat16"] = "float32"
    """What lookups read; half precision is faster once tables outgrow the caches. Training keeps float32 values."""
    base_resolution: int | None = None
    """Cells along each axis in the coarsest level."""
    finest_resolution: int | None = None
    """Cells along the longest axis in the finest level."""
    cells: int = 4
    """Cells of "scalable" along each axis of the box; with all of them it is about as fine and large as "hash"."""
    n_probes: int = 4
    """Entries that a code of "probed" chooses among: 2, 4, 8 or 16."""
    log2_codebook_size: int | None = None
    """Codes of each hashed level of "probed", as a power of two; as many as entries, but no more than 2^16."""
    activation: Literal["none", "step", "cosine"] = "none"
    """Levels of a grid come one after the other, coarse ones first: at equal distances ("step"), or through a window
    that opens smoothly ("cosine"); "none": all from the beginning."""
    activation_steps: int = 1000
    """Steps after which all levels take part."""


@dataclass(frozen=True)
class Defaults:
    """What a kind of encoding has where nothing else is asked for; None: as the task has it."""

    n_levels: int = 16
    n_features_per_level: int = 2
    base_resolution: int | None = 16
    finest_resolution: int | None = None


# Sizes of dense grids: Mubarik et al. 2023, arXiv:2303.05735, table 1; of the hash grid: Mueller et al. 2022,
# arXiv:2201.05989, table 1; octaves: Mildenhall et al. 2020, arXiv:2003.08934, section 5.1, and of triangle waves
# Mueller et al. 2021, arXiv:2106.12372, section 3.3. Bins are ours; so is None as a tile's resolution: as many entries
# as a hashed level would have.
DEFAULTS: dict[str, Defaults] = {
    "hash": Defaults(),
    "dense": Defaults(n_levels=8, finest_resolution=173),
    "lowres": Defaults(n_levels=2, n_features_per_level=8, base_resolution=128, finest_resolution=128),
    "tiled": Defaults(base_resolution=None),
    "simplex": Defaults(),
    "kuhn": Defaults(),
    "permutohedral": Defaults(),
    "metric": Defaults(),
    "probed": Defaults(),
    "scalable": Defaults(),
    "frequency": Defaults(n_levels=10),
    "triangle": Defaults(n_levels=12),
    "oneblob": Defaults(n_levels=32),
}

AnyEncoding = TypeVar("AnyEncoding", bound=EncodingConfig)


def resolve_encoding(asked: AnyEncoding, n_dims: int, *, log2_hashmap_size: int, finest_resolution: int) -> AnyEncoding:
    """The configuration with a value in place of every None; values that a kind does not read are filled in too.

    Args:
        asked: As it was given, or a configuration that has an encoding and more.
        n_dims: Of the input.
        log2_hashmap_size: The task's, for the device.
        finest_resolution: The task's.
    """
    defaults = DEFAULTS[asked.encoding]
    log2_size = asked.log2_hashmap_size if asked.log2_hashmap_size is not None else log2_hashmap_size
    base = asked.base_resolution or defaults.base_resolution or max(2, int(2 ** (log2_size / n_dims)))
    return replace(
        asked,
        n_levels=asked.n_levels or defaults.n_levels,
        n_features_per_level=asked.n_features_per_level or defaults.n_features_per_level,
        log2_hashmap_size=log2_size,
        base_resolution=base,
        finest_resolution=asked.finest_resolution or max(base, defaults.finest_resolution or finest_resolution),
        log2_codebook_size=asked.log2_codebook_size or min(log2_size, LARGEST_CODEBOOK),
    )


def of_one_cell(config: EncodingConfig, n_dims: int) -> EncodingConfig:
    """The hash grid of each cell of a resolved "scalable"."""
    log2_size, base, finest = config.log2_hashmap_size, config.base_resolution, config.finest_resolution
    assert log2_size is not None and base is not None and finest is not None, "the configuration is not resolved"
    base = max(2, round(base / config.cells))
    return replace(
        config,
        encoding="hash",
        log2_hashmap_size=max(SMALLEST_LOG2_SIZE, log2_size - math.ceil(n_dims * math.log2(config.cells))),
        base_resolution=base,
        finest_resolution=max(base, round(finest / config.cells)),
    )


def describe_encoding(config: EncodingConfig) -> str:
    """A resolved encoding in a few words."""
    if config.encoding in WAVES:
        return f"{config.encoding} of {config.n_levels} {WAVES[config.encoding]}"
    levels = f"{config.n_levels} levels x {config.n_features_per_level} from {config.base_resolution}"
    hashed = "" if config.encoding in ("dense", "lowres", "tiled") else f"table 2^{config.log2_hashmap_size}, "
    codes = f", {config.n_probes} probes by 2^{config.log2_codebook_size} codes" if config.encoding == "probed" else ""
    cells = f", in cells of 1/{config.cells}" if config.encoding == "scalable" else ""
    opened = "" if config.activation == "none" else f", all by step {config.activation_steps} ({config.activation})"
    return f"{config.encoding}, {hashed}{levels} to {config.finest_resolution}{codes}{cells}{opened}"


def check_encoding(config: EncodingConfig) -> None:
    """Refuses values that no encoding can use, naming the flag.

    Raises:
        ValueError: Out of range.
    """
    if config.encoding not in KINDS:
        raise ValueError(f"--model.encoding must be one of {', '.join(KINDS)}, got {config.encoding!r}")
    if config.n_features_per_level not in (None, 1, 2, 4, 8):
        raise ValueError(f"--model.n-features-per-level must be one of 1, 2, 4, 8, got {config.n_features_per_level}")
    if config.encoding == "probed" and config.table_precision != "float32":
        raise ValueError(
            f"--model.table-precision {config.table_precision} cannot be had with --model.encoding probed, whose "
            "lookups read float32; leave it out"
        )
    if config.encoding in WAVES and config.activation != "none":
        raise ValueError(
            f"--model.activation {config.activation} cannot be had with --model.encoding {config.encoding}, which has "
            "no levels; leave it out"
        )
    if config.n_probes not in PROBES:
        raise ValueError(f"--model.n-probes must be one of {', '.join(map(str, PROBES))}, got {config.n_probes}")
    base = config.base_resolution or DEFAULTS[config.encoding].base_resolution or 2
    for name, low, high in (
        ("n_levels", 1, 256 if config.encoding == "oneblob" else 32), ("log2_hashmap_size", SMALLEST_LOG2_SIZE, 28),
        ("base_resolution", 2, 1 << 16), ("finest_resolution", base, 1 << 20), ("log2_codebook_size", 2, 24),
        ("cells", 1, 64), ("activation_steps", 1, 1 << 30),
    ):  # fmt: skip
        value = getattr(config, name)
        if value is not None and not low <= value <= high:
            raise ValueError(f"--model.{name.replace('_', '-')} must be between {low} and {high}, got {value}")
