"""Optimisers follow a parameter that grows: old rows keep their state bit for bit, runs go on and resume exactly."""

import copy

import pytest
import torch
from torch import Tensor

from neural.cuda.gradients import GradientBuffer
from neural.encodings.scalable_hash_grid import ScalableHashGrid
from neural.mlp import MLP
from neural.optim import Adam, Group, extend_torch
from tests.threads import threads

OPTIONS = {"n_levels": 3, "log2_hashmap_size": 8, "finest_resolution": 40}


class Run:
    """A field over a growing piece of ground: one cell for 6 steps, then all of 16."""

    def __init__(self, *, buffered: bool = True, ema: float | None = 0.9, precision: str = "float16") -> None:
        self.grid = ScalableHashGrid(2, cell_size=1.0, axes="all", precision=precision, **OPTIONS)
        self.mlp = MLP(6, 1, width=16, n_hidden_layers=1)
        self.grid.grow(torch.zeros(1, 2))
        self.grid.gradients = GradientBuffer.like(self.grid.table) if buffered else None
        self.optimiser = self.build(ema)
        self.done = 0

    def build(self, ema: float | None) -> Adam:
        table = {"table": self.grid.table}
        buffers = {} if self.grid.gradients is None else {"table": self.grid.gradients}
        copies = {} if self.grid.working_copy is None else {"table": self.grid.working_copy}
        return Adam([
            Group(table, lr=1e-2, lazy=bool(buffers), buffers=buffers, working_copies=copies, ema=ema),
            Group(dict(self.mlp.named_parameters()), lr=1e-2),
        ])  # fmt: skip

    def points(self, step: int) -> Tensor:
        generator = torch.Generator().manual_seed(step)
        return torch.rand(500, 2, generator=generator) * (1.0 if step < 6 else 4.0)

    def step(self) -> float:
        x = self.points(self.done)
        if self.grid.grow(x):
            self.optimiser.extend()
        loss = (self.mlp(self.grid(x))[:, 0] - (3 * x).sin().sum(1)).square().mean()
        loss.backward()
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.done += 1
        return loss.item()

    def state(self) -> dict[str, Tensor]:
        model = {f"model/{k}": v for k, v in (*self.grid.state_dict().items(), *self.mlp.state_dict().items())}
        return {k: v.detach().clone() for k, v in {**self.optimiser.state_dict(), **model}.items()}


def _same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    assert [name for name in a if not torch.equal(a[name], b[name])] == []


@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize("ema", [None, 0.9])
def test_moments_of_old_cells_are_bit_equal_across_growth(buffered: bool, ema: float | None) -> None:
    run = Run(buffered=buffered, ema=ema)
    for _ in range(6):
        run.step()
    before, averages, rows = run.state(), run.optimiser.averages(), run.grid.table.shape[0]
    assert float(before["optim/table/exp_avg"].abs().max()) > 0
    assert run.grid.grow(run.points(6)) == 15
    run.optimiser.extend()
    after = run.state()
    for name in before:
        if name.startswith(("optim/table", "ema/table", "model/table")) and not name.endswith("nonfinite"):
            assert after[name].shape[0] == 16 * rows
            assert torch.equal(after[name][:rows], before[name]), name
            fresh = after[name][rows:]
            kept = {"ema/table": after["model/table"][rows:], "optim/table/ema_steps": torch.full_like(fresh, 6)}
            if name != "model/table":
                assert torch.equal(fresh, kept.get(name, torch.zeros_like(fresh))), name
    for name, average in averages.items():
        assert torch.equal(run.optimiser.averages()[name][:rows], average)
    run.step()


def test_a_step_over_old_cells_is_the_one_without_growth() -> None:
    """Cells that no point of the batch lies in change nothing, in no bit."""
    runs = Run(), Run()
    for run in runs:
        for _ in range(5):
            run.step()
    grown = runs[1]
    assert grown.grid.grow(grown.points(6)) == 15
    grown.optimiser.extend()
    for run in runs:
        run.step()
    a, b = (run.state() for run in runs)
    rows = a["model/table"].shape[0]
    for name in a:
        if name != "model/cells":
            assert torch.equal(a[name], b[name][:rows] if "table" in name else b[name]), name


@pytest.mark.parametrize("at", [4, 8])
def test_a_resume_is_bit_exact_before_and_after_growth(at: int) -> None:
    whole = Run()
    for _ in range(at):
        whole.step()
    state = whole.state()
    losses = [whole.step() for _ in range(12 - at)]
    resumed = Run()
    resumed.grid.load_state_dict({k.removeprefix("model/"): state[k] for k in ("model/table", "model/cells")})
    resumed.mlp.load_state_dict({"params": state["model/params"]})
    resumed.optimiser.load_state_dict(state)
    resumed.done = at
    assert [resumed.step() for _ in range(12 - at)] == losses
    _same(resumed.state(), whole.state())


def test_any_number_of_threads_gives_the_same_run() -> None:
    states = []
    for count in (1, 2, 3):
        with threads(count):
            run = Run()
            for _ in range(9):
                run.step()
        states.append(run.state())
    _same(states[0], states[1])
    _same(states[0], states[2])


@pytest.mark.parametrize("kind", [torch.optim.Adam, torch.optim.RMSprop, torch.optim.Adagrad])
def test_optimisers_of_torch_keep_their_state(kind: type[torch.optim.Optimizer]) -> None:
    run = Run(buffered=False, ema=None, precision="float32")
    optimiser = kind([*run.grid.parameters(), *run.mlp.parameters()], lr=1e-2)

    def step(x: Tensor) -> None:
        optimiser.zero_grad(set_to_none=False)
        (run.mlp(run.grid(x))[:, 0] - (3 * x).sin().sum(1)).square().mean().backward()
        optimiser.step()

    for i in range(4):
        step(run.points(i))
    before = copy.deepcopy(optimiser.state_dict()["state"][0])
    rows = run.grid.table.shape[0]
    assert run.grid.grow(run.points(6)) == 15
    extend_torch(optimiser)
    after = optimiser.state_dict()["state"][0]
    assert before.keys() == after.keys() and len(before) >= 2
    for name, value in before.items():
        assert torch.equal(after[name][:rows] if value.ndim else after[name], value), name
        assert not value.ndim or not after[name][rows:].any()
    step(run.points(6))
    assert float(run.grid.table.grad[rows:].abs().max()) > 0


def test_state_that_is_longer_than_its_parameter_is_refused() -> None:
    run = Run(buffered=False, precision="float32")
    run.step()
    run.grid.load_state_dict(ScalableHashGrid(2, cell_size=1.0, axes="all", **OPTIONS).state_dict())
    with pytest.raises(ValueError, match="'table' has 0 rows, its state"):
        run.optimiser.extend()


def test_a_step_without_extend_says_so() -> None:
    run = Run()
    run.step()
    run.grid.grow(run.points(6))
    run.mlp(run.grid(run.points(6))).sum().backward()
    with pytest.raises(ValueError, match=r"'table' has grown .* call extend"):
        run.optimiser.step()
