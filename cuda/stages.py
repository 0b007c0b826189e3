"""A field as a list of plain stages: what the fused renderer runs block by block, and its CUDA kernel is made from.

A stage says what is computed, in numbers alone; its tensors are `Operand`s beside it. Stages read and write rows of one
feature-major block: positions come in rows 0 to 2, unit directions in rows 3 to 5, every stage's results have rows of
their own, and a stage that reads two results finds them side by side.
"""

import struct
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neural.cuda.gradients import GradientBuffer
from neural.cuda.mlp_spec import MLPSpec

WORDS = 16  # int64 per stage, kWords of field_block.h
_OWN = 5  # before a stage's own words: kind, first row and number of rows that it reads, and that it writes
POSITION, DIRECTION, FIRST_FREE = 0, 3, 6  # rows
TABLE_DTYPES = (torch.float32, torch.float16, torch.bfloat16)  # position = code


@dataclass(frozen=True)
class UnitCube:
    """Positions about the middle of a cube of side 2 `half_side` to [0, 1]^3; with `ball` all of space."""

    half_side: float
    ball: bool


@dataclass(frozen=True)
class Encode:
    """Features of a multi-resolution lattice over a table.

    Attributes:
        kind: The op that looks them up.
        n_levels: Levels.
        n_features: Features per entry.
        form: Index into `hash_grid.INTERPOLATIONS` or `simplex.LATTICES`.
        outside: Index into `lattice_checks.OUTSIDES`.
        table_dtype: What is read: index into `TABLE_DTYPES`.
    """

    kind: Literal["hash_grid", "simplex"]
    n_levels: int
    n_features: int
    form: int
    outside: int
    table_dtype: int


@dataclass(frozen=True)
class Network:
    """A multilayer perceptron; its first `first_in` inputs need no gradient."""

    spec: MLPSpec
    first_in: int = 0


@dataclass(frozen=True)
class Density:
    """`factor` times exp or softplus of the first of the features plus `bias`."""

    activation: Literal["exp", "softplus"]
    bias: float
    factor: float


@dataclass(frozen=True)
class Directions:
    """Spherical harmonics of the direction, degree^2 values."""

    degree: int


Stage = UnitCube | Encode | Network | Density | Directions
KINDS: tuple[type, ...] = (UnitCube, Encode, Network, Density, Directions)  # position = code, the enum of field_block.h
_SIMPLEX = len(KINDS)  # the code of an `Encode` that is no hash grid
ACTIVATIONS = ("exp", "softplus")


@dataclass(frozen=True)
class Wired:
    """A stage and the rows that it reads and writes."""

    stage: Stage
    source: int
    n_in: int
    target: int
    n_out: int


@dataclass(frozen=True)
class Program:
    """The stages of a radiance field, wired.

    Attributes:
        stages: In order; the first `n_density` give the density, the others the colour.
        n_density: Stages that run on every sample, also on those that cannot be seen.
        n_rows: Rows of a block.
        density: Row of the density.
        rgb: First row of the colour.
        keep: First of the `n_keep` rows that the colour needs of what the density's stages gave.
        n_keep: How many.
    """

    stages: tuple[Wired, ...]
    n_density: int
    n_rows: int
    density: int
    rgb: int
    keep: int
    n_keep: int

    @cached_property
    def code(self) -> tuple[int, ...]:
        """What kernels take after the stages' words: stages, rows, n_density, density, rgb, keep, n_keep."""
        return len(self.stages), self.n_rows, self.n_density, self.density, self.rgb, self.keep, self.n_keep

    @cached_property
    def words(self) -> tuple[int, ...]:
        """All stages in the layout of field_block.h, with 0 for what the operands fill in."""
        flat: list[int] = []
        for wired in self.stages:
            simplex = isinstance(wired.stage, Encode) and wired.stage.kind == "simplex"
            kind = _SIMPLEX if simplex else KINDS.index(type(wired.stage))
            head = (kind, wired.source, wired.n_in, wired.target, wired.n_out)
            flat += (*head, *_own_words(wired.stage)) + (0,) * (WORDS - _OWN - len(_own_words(wired.stage)))
        return tuple(flat)


def radiance(
    unit_cube: UnitCube, encode: Encode, density_network: Network, density: Density, directions: Directions,
    color_network: MLPSpec,
) -> Program:  # fmt: skip
    """Wires a radiance field: the colour network reads the direction's harmonics and what the density network gives.

    Raises:
        ValueError: The sizes do not fit one another.
    """
    n_features, n_sh = encode.n_levels * encode.n_features, directions.degree**2
    n_geo = density_network.spec.n_out
    if density_network.spec.n_in != n_features or color_network.n_in != n_sh + n_geo or color_network.n_out != 3:
        raise ValueError(
            f"a field of {n_features} features and {n_sh} harmonics needs networks {n_features} -> {n_geo} and "
            f"{n_sh + n_geo} -> 3, got {density_network.spec.n_in} -> {n_geo} and {color_network.n_in} -> "
            f"{color_network.n_out}"
        )
    features = FIRST_FREE
    harmonics = features + n_features
    geo = harmonics + n_sh
    sigma, rgb = geo + n_geo, geo + n_geo + 1
    stages = (
        Wired(unit_cube, POSITION, 3, POSITION, 3),
        Wired(encode, POSITION, 3, features, n_features),
        Wired(density_network, features, n_features, geo, n_geo),
        Wired(density, geo, 1, sigma, 1),
        Wired(directions, DIRECTION, 3, harmonics, n_sh),
        Wired(Network(color_network, n_sh), harmonics, n_sh + n_geo, rgb, 3),
    )
    return Program(stages, 4, rgb + 3, sigma, rgb, geo, n_geo)


@dataclass(frozen=True)
class Table:
    """The tensors of an `Encode`.

    Attributes:
        table: The parameter.
        source: What is read: the table, or its working copy.
        levels: Descriptors, int64 on the CPU.
        level_weights: None, or a factor per level, on the CPU.
        accumulate: Where gradients go instead of to autograd.
    """

    table: Float[Tensor, "E F"]
    source: Float[Tensor, "E F"]
    levels: Int[Tensor, "1 L W"]
    level_weights: Float[Tensor, " L"] | None
    accumulate: GradientBuffer | None

    @property
    def parameter(self) -> Tensor:
        return self.table


@dataclass(frozen=True)
class Weights:
    """The tensors of a `Network`: its flat parameter, and where gradients go instead of to autograd."""

    parameter: Float[Tensor, " P"]
    accumulate: GradientBuffer | None


Operand = Table | Weights


def bound(program: Program, operands: tuple[Operand, ...], gradients: tuple[tuple[int, int], ...] | None) -> list[int]:
    """The program's words with addresses: what CPU kernels take.

    Args:
        program: The stages.
        operands: Of the stages that have any, in order.
        gradients: Addresses of each operand's gradient and of its touched bits (0: none); None for no gradients.
    """
    words, number = list(program.words), 0
    for i, wired in enumerate(program.stages):
        if not isinstance(wired.stage, (Encode, Network)):
            continue
        own, operand = i * WORDS + _OWN, operands[number]
        grad, touched = (0, 0) if gradients is None else gradients[number]
        number += 1
        if isinstance(operand, Table):
            weights = operand.level_weights
            words[own], words[own + 2] = operand.source.data_ptr(), operand.levels.data_ptr()
            words[own + 5] = 0 if weights is None else weights.data_ptr()
            words[own + 8], words[own + 9] = grad, touched
        else:
            words[own], words[own + 7] = operand.parameter.data_ptr(), grad
    return words


def cuda_source(program: Program) -> dict[str, int | str]:
    """What makes fused.cu the kernel of a program: its stages as calls, in order, and what it is specialised on.

    Raises:
        NotImplementedError: fused.cu has no such encoding.
    """
    calls: list[str] = []
    loads: list[str] = []
    sizes: dict[str, int | str] = {}
    for wired in program.stages:
        stage, rows = wired.stage, f"{wired.source},{wired.target}"
        own = _own_words(stage)
        match stage:
            case UnitCube():
                calls.append(f"unit_cube<{rows},{own[1]}>(rows,{own[0]}u);")
            case Encode():
                if stage.kind != "hash_grid":
                    raise NotImplementedError(f"fused: no CUDA kernel looks up a {stage.kind}; render op by op")
                calls.append(f"{stage.kind}<{rows},{stage.n_levels}>(rows,tables);")
                sizes = {
                    "DIMS": wired.n_in, "FEATURES": stage.n_features, "INTERPOLATION": stage.form,
                    "OUTSIDE": stage.outside, "TABLE_DTYPE": stage.table_dtype,
                }  # fmt: skip
            case Network():
                n, (_, *shape, frequency, _, _) = len(loads), own
                form = ",".join(map(str, (wired.source, wired.n_in, wired.target, wired.n_out, *shape)))
                calls.append(f"network<{form}>(rows,networks[{n}],{frequency}u);")
                loads.append(f"networks[{n}]=to;to=load(to,params_{n},{stage.spec.n_params});")
            case Density():
                calls.append(f"density<{rows},{own[0]}>(rows,{own[1]}u,{own[2]}u);")
            case Directions():
                calls.append(f"directions<{rows},{stage.degree}>(rows);")
    return sizes | {
        "STAGES": "".join(calls), "LOAD_NETWORKS": "".join(loads), "N_NETWORKS": len(loads),
        "N_ROWS": program.n_rows, "DENSITY_ROW": program.density, "RGB_ROW": program.rgb,
    }  # fmt: skip


def network_bytes(program: Program) -> int:
    """Size of all networks' parameters: the shared memory of a block of fused.cu."""
    return sum(4 * wired.stage.spec.n_params for wired in program.stages if isinstance(wired.stage, Network))


def _own_words(stage: Stage) -> tuple[int, ...]:
    match stage:
        case UnitCube():
            return _bits(0.5 / stage.half_side), int(stage.ball)
        case Encode():
            sizes = (stage.n_levels, stage.n_features)
            return 0, stage.table_dtype, 0, *sizes, 0, stage.form, stage.outside
        case Network():
            _, _, *rest = stage.spec.code
            return 0, *rest, _bits(stage.spec.frequency), 0, stage.first_in
        case Density():
            return ACTIVATIONS.index(stage.activation), _bits(stage.bias), _bits(stage.factor)
        case Directions():
            return (stage.degree,)


def _bits(value: float) -> int:
    return struct.unpack("<I", struct.pack("<f", value))[0]
