"""What a frame spends its time on: calls into the native library, counted and timed by stage, results unchanged."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from torch import nn

from neural.cuda.native import lib
from neural.fields.metric import ExtrapolationDecoder, MetricField
from neural.mlp import MLP

ENCODING = (
    "hash_grid", "probed_grid", "simplex", "permutohedral", "metric_maps", "axis_encoding", "frequency",
    "spherical_harmonics", "level_blend", "cell_",
)  # fmt: skip
NETWORK = ("mlp", "modulated_sine")
FUSED = ("fused",)
NO_KERNELS = ("active_isa", "available_isas", "set_isa", "retain_heap", "fma_peak")


@dataclass
class Stages:
    """Filled inside `watched`.

    Attributes:
        calls: Kernel -> how often it was called.
        seconds: Kernel -> CPU time inside it.
        total: CPU time of the whole block.
    """

    calls: Counter[str] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)
    total: float = 0.0

    @property
    def kernels(self) -> int:
        """Kernels that were started."""
        return sum(self.calls.values())

    def spent(self, stage: str) -> float:
        """CPU seconds in kernels of `encoding` or `network`; `rest` is all the time that is in neither."""
        if stage == "rest":
            return self.total - self.spent("encoding") - self.spent("network")
        return sum(seconds for name, seconds in self.seconds.items() if stage_of(name) == stage)

    def share(self, stage: str) -> float:
        """Percent of the block's time."""
        return 100 * self.spent(stage) / self.total


def stage_of(kernel: str) -> str:
    """`encoding`, `network` or `rest`.

    Raises:
        ValueError: A kernel that is encoding and network at once: its time cannot be shared out.
    """
    if kernel.startswith(FUSED):
        raise ValueError(f"{kernel} is encoding and network in one; render with the ops apart")
    return "encoding" if kernel.startswith(ENCODING) else "network" if kernel.startswith(NETWORK) else "rest"


@contextmanager
def watched() -> Iterator[Stages]:
    """Counts and times all kernel calls inside the block: ops look kernels up in the library at every call."""
    stages = Stages()
    kernels = {
        name: kernel
        for name, kernel in vars(lib).items()
        if callable(kernel) and not name.startswith("_") and name not in NO_KERNELS and not name.endswith("_check")
    }

    def timed(name: str, kernel: Callable) -> Callable:
        def call(*arguments):
            start = time.process_time()
            try:
                return kernel(*arguments)
            finally:
                stages.calls[name] += 1
                stages.seconds[name] += time.process_time() - start

        return call

    start = time.process_time()
    try:
        for name, kernel in kernels.items():
            setattr(lib, name, timed(name, kernel))
        yield stages
    finally:
        stages.total = time.process_time() - start
        for name, kernel in kernels.items():
            setattr(lib, name, kernel)


@dataclass
class Rows:
    """Filled inside `counted`: rows through modules, and how often they ran."""

    rows: Counter[nn.Module] = field(default_factory=Counter)
    calls: Counter[nn.Module] = field(default_factory=Counter)


@contextmanager
def counted(model: nn.Module) -> Iterator[Rows]:
    """Counts the rows that pass through every encoding with a table and every network of `model`."""
    found = Rows()

    def note(module: nn.Module, arguments: tuple) -> None:
        seen = module.encoding if isinstance(module, MetricField) else module
        found.rows[seen] += arguments[0].shape[0]  # type: ignore[index]
        found.calls[seen] += 1  # type: ignore[index]

    hooks = [module.register_forward_pre_hook(note) for module in model.modules() if _is_counted(module)]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def points(found: Rows) -> int:
    """Points that were looked up in a table: of fields with several encodings, in the one that saw most."""
    return max((rows for module, rows in found.rows.items() if getattr(module, "table", None) is not None), default=0)


def bytes_moved(found: Rows) -> float:
    """A model, from shapes alone: what a frame's lookups and networks would read and write without any cache.

    Per point and level the position, all corners' entries, and the features written; per row of a network its inputs,
    outputs and, once a call, its weights. Hidden layers stay in registers.
    """
    total = 0.0
    for module, rows in found.rows.items():
        if isinstance(module, (MLP, ExtrapolationDecoder)):
            spec = module.spec
            n_in = spec.n_in if isinstance(module, MLP) else spec.n_coordinates + spec.n_grids * spec.n_features
            total += 4 * (rows * (n_in + spec.n_out) + found.calls[module] * module.params.numel())
        else:
            total += rows * lookup_bytes(module)
    return total


def lookup_bytes(encoding: nn.Module) -> int:
    """Bytes per point of one encoding with a table."""
    n_dims, n_levels, features = encoding.n_dims, encoding.n_levels, encoding.n_features_per_level
    corners = n_dims + 1 if type(encoding).__name__ in ("Simplex", "Permutohedral") else 2**n_dims
    queries = getattr(encoding, "n_grids", 1)
    table = encoding.table if encoding.working_copy is None else encoding.working_copy
    entry = features * table.element_size()  # type: ignore[operator]
    return queries * n_levels * (4 * n_dims + corners * entry + 4 * features)  # type: ignore[operator, return-value]


def _is_counted(module: nn.Module) -> bool:
    return isinstance(module, (MLP, ExtrapolationDecoder, MetricField)) or getattr(module, "table", None) is not None
