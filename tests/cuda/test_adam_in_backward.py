"""Adam inside the backward passes of projection and colours against the same steps made after them."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor

from neural.cuda.gaussian_color import gaussian_color
from neural.cuda.gaussian_projection import MODELS, Model, Projected, project
from neural.densify.population import Population
from neural.gaussians.model import Gaussians
from neural.optim import Adam, Group

N = 150  # more than a block
SIZE = (64, 48)
RATES = {"means": 2e-3, "quats": 1e-2, "log_scales": 3e-2, "opacity_logits": 5e-2, "sh0": 2e-2, "shN": 1e-2}
NAMES = tuple(RATES)
TOO_LATE = "has been made|modified by an inplace operation"  # whichever backward pass autograd begins with


class Run:
    """Gaussians, their optimiser, and views of them one after the other; `fused` are moved in the backward pass."""

    def __init__(self, device: torch.device, fused: Iterable[str] = (), *, lazy: bool = True, stored: int = 3) -> None:
        generator = torch.Generator().manual_seed(5)
        box = torch.tensor([[-3.0, -2, -1], [3, 2, 5]])  # a part is behind the camera, a part beside the image
        self.gaussians = Gaussians.random(N, box, sh_degree=stored).to(device)
        for parameter in self.gaussians.parameters():
            parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator).to(device)
        self.device, self.fused, self.lazy = device, tuple(fused), lazy
        self.optimiser = self.new_optimiser()
        self.grads: dict[str, Tensor | None] = {}

    def new_optimiser(self) -> Adam:
        kinds = {"quats": {"l2": 1e-3}, "sh0": {"weight_decay": 1e-2, "eps": 1e-8}, "shN": {"betas": (0.8, 0.95)}}
        return Adam([
            Group({name: getattr(self.gaussians, name)}, lr=rate, lazy=self.lazy, **kinds.get(name, {}))  # type: ignore[arg-type]
            for name, rate in RATES.items()
        ])  # fmt: skip

    def seen(self, step: int, *, model: Model = "perspective", in_backward: Any = None, **pose: Tensor) -> Projected:
        """From another place in each step."""
        w2c = torch.eye(4)
        w2c[0, 3] = 0.2 * step
        focal = 20.0 if model == "orthographic" else 60.0
        w2c = pose.get("w2c", w2c.to(self.device))
        intrinsics = pose.get("intrinsics", torch.tensor([focal, focal, 32, 24], device=self.device))
        g = self.gaussians
        return project(
            g.means, g.quats, g.log_scales, g.opacity_logits, w2c, intrinsics, SIZE, near=0.2, antialiased=True,
            model=model, in_backward=in_backward,
        )  # fmt: skip

    def view(self, step: int, *, in_backward: Any = None, **camera: Any) -> Tensor:
        """A loss in which every parameter, the pose and the lens count; another one in each step."""
        g, generator = self.gaussians, torch.Generator().manual_seed(step)
        seen = self.seen(step, in_backward=in_backward, **camera)
        centre = -camera["w2c"][:3, 3] if "w2c" in camera else torch.tensor([-0.2 * step, 0, 0], device=self.device)
        colors = gaussian_color(
            g.means, centre, g.sh0, g.shN, min(step, g.sh_degree), opacities=seen.opacities.detach(),
            in_backward=in_backward,
        )  # fmt: skip
        parts = (*seen[:4], colors)
        weights = [torch.randn(x.shape, generator=generator).to(self.device) for x in parts]
        return torch.stack([(x * w).sum() for x, w in zip(parts, weights, strict=True)]).sum() / SIZE[0]

    def step(self, step: int, **view: Any) -> None:
        scales = {"lr_scale": 1 / (1 + step), "lr_scales": {"means": 0.5}}
        in_backward = self.optimiser.in_backward(self.fused, **scales) if self.fused else None  # type: ignore[arg-type]
        self.view(step, in_backward=in_backward, **view).backward()
        self.grads = {name: p.grad for name, p in self.gaussians.named_parameters()}
        self.optimiser.step(**scales)  # type: ignore[arg-type]
        self.optimiser.zero_grad()

    def state(self) -> dict[str, Tensor]:
        state = {**dict(self.gaussians.named_parameters()), **self.optimiser.state_dict()}
        return {name: tensor.detach().cpu().clone() for name, tensor in state.items()}


def assert_near(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """To the rounding of a GPU, which contracts products and sums as it likes; counts are equal."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if value.is_floating_point():
            scale = float(value.abs().max()) if value.numel() else 1.0
            torch.testing.assert_close(
                found[name], value, atol=1e-5 * scale, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
            )
        else:
            assert torch.equal(found[name], value), name


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert not [name for name, value in expected.items() if not torch.equal(found[name], value)]


@pytest.mark.parametrize("lazy", [True, False])
@pytest.mark.parametrize(
    "fused", [NAMES, ("sh0", "shN"), ("shN",), ("sh0",), ("means",), ("quats", "opacity_logits")], ids="+".join
)
def test_steps_are_those_of_the_optimiser(fused: tuple[str, ...], lazy: bool, cuda_device: torch.device) -> None:
    inside, after = Run(cuda_device, fused, lazy=lazy), Run(cuda_device, lazy=lazy)
    begin = inside.state()
    for step in range(5):  # degrees 0 to 3 of the harmonics, and 3 again
        inside.step(step)
        after.step(step)
        assert {name for name, grad in inside.grads.items() if grad is None} == set(fused)
        assert None not in after.grads.values()
    found = inside.state()
    assert_near(found, after.state())
    assert all(not torch.equal(found[name], begin[name]) for name in NAMES)
    if lazy:
        steps = found["optim/means/row_steps"]
        assert steps.min() == 0 and steps.max() == 5  # some were never seen, some always


@pytest.mark.parametrize("model", MODELS)
def test_every_projection_steps(model: Model, cuda_device: torch.device) -> None:
    inside, after = Run(cuda_device, NAMES), Run(cuda_device)
    for step in range(2):
        inside.step(step, model=model)
        after.step(step, model=model)
    assert_near(inside.state(), after.state())


@pytest.mark.parametrize("stored", [0, 1, 2])
def test_fewer_coefficients(stored: int, cuda_device: torch.device) -> None:
    inside, after = Run(cuda_device, NAMES, stored=stored), Run(cuda_device, stored=stored)
    for step in range(4):
        inside.step(step)
        after.step(step)
    assert_near(inside.state(), after.state())


def test_poses_and_lenses_have_their_gradients(cuda_device: torch.device) -> None:
    found = []
    for fused in (NAMES, ()):
        run = Run(cuda_device, fused)
        w2c = torch.eye(4, device=cuda_device, requires_grad=True)
        intrinsics = torch.tensor([60.0, 60, 32, 24], device=cuda_device, requires_grad=True)
        run.step(3, w2c=w2c, intrinsics=intrinsics)
        found.append({"w2c": w2c.grad, "intrinsics": intrinsics.grad})
    assert found[1]["w2c"].abs().max() > 0
    assert_near(*found)


@pytest.mark.parametrize("unseen", [False, True])
def test_penalties_are_terms_of_the_loss(cuda_device: torch.device, unseen: bool) -> None:
    runs = Run(cuda_device, NAMES), Run(cuda_device)
    for step in (2, 3):
        in_backward = runs[0].optimiser.in_backward(NAMES)
        assert in_backward is not None
        loss = runs[0].view(step, in_backward=in_backward)
        in_backward.penalise("opacity_logits", 0.2, unseen=unseen)
        in_backward.penalise("log_scales", 0.1, 0.5, unseen=unseen)
        loss.backward()
        g = runs[1].gaussians
        visible = (runs[1].seen(step).opacities > 0).detach()
        assert not visible.all()
        rows = visible | unseen
        scales = g.log_scales[rows].exp()
        assert (scales > 0.5).any() and (scales < 0.5).any()
        penalty = 0.2 * g.opacity_logits[rows].sigmoid().sum() + 0.1 * scales[scales < 0.5].sum()
        (runs[1].view(step) + penalty).backward()
        for run in runs:
            run.optimiser.step()
            run.optimiser.zero_grad()
    assert_near(runs[0].state(), runs[1].state())


def test_a_run_taken_up_in_the_middle_is_bit_equal(cuda_device: torch.device) -> None:
    whole = Run(cuda_device, NAMES)
    for step in range(3):
        whole.step(step)
    saved = whole.state()
    for step in range(3, 5):
        whole.step(step)

    other = Run(cuda_device, NAMES)
    for name, parameter in other.gaussians.named_parameters():
        parameter.data.copy_(saved[name])
    other.optimiser.load_state_dict({name: tensor.to(cuda_device) for name, tensor in saved.items()})
    for step in range(3, 5):
        other.step(step)
    assert_equal(other.state(), whole.state())


def test_gaussians_come_and_go_between_steps(cuda_device: torch.device) -> None:
    runs = Run(cuda_device, NAMES), Run(cuda_device)
    for run in runs:
        population = Population(run.gaussians, run.optimiser)
        for step in range(4):
            run.step(step)
            source = torch.arange(population.n, device=cuda_device).repeat(2)[step : N + 60 - 20 * step]
            population.rearrange(source, source < 10 * step)
    assert runs[0].gaussians.n == N - 3
    assert_near(runs[0].state(), runs[1].state())


def test_gradients_that_are_not_finite_are_counted_and_move_nothing(cuda_device: torch.device) -> None:
    found = []
    for fused in (NAMES, ()):
        run = Run(cuda_device, fused)
        before = run.state()
        in_backward = run.optimiser.in_backward(fused) if fused else None
        (run.view(3, in_backward=in_backward) * float("nan")).backward()
        run.optimiser.step()
        found.append(run.state())
        assert all(torch.equal(found[-1][name], before[name]) for name in ("means", "quats", "log_scales"))
        assert run.optimiser.nonfinite().keys() == set(NAMES)
    assert_near(*found)


def test_frozen_parameters_stay(cuda_device: torch.device) -> None:
    run = Run(cuda_device, NAMES)
    run.gaussians.means.requires_grad_(False)
    run.gaussians.shN.requires_grad_(False)
    before = run.state()
    run.step(3)
    after = run.state()
    moved = {name for name in NAMES if not torch.equal(before[name], after[name])}
    assert moved == set(NAMES) - {"means", "shN"}


def test_nothing_in_view(cuda_device: torch.device) -> None:
    run = Run(cuda_device, NAMES)
    run.gaussians.means.data[:, 2] -= 50
    before = run.state()
    run.step(3)
    assert run.optimiser.steps == 1
    assert all(torch.equal(run.state()[name], before[name]) for name in NAMES)


def test_no_backward_pass_leaves_the_step_to_the_optimiser(cuda_device: torch.device) -> None:
    run, other = Run(cuda_device, NAMES), Run(cuda_device)
    steps = run.optimiser.in_backward(NAMES)
    late = run.view(3, in_backward=steps)
    for each in (run, other):
        each.view(2).backward()
        each.optimiser.step()
    assert_equal(run.state(), other.state())
    with pytest.raises(RuntimeError, match=TOO_LATE):
        late.backward()


def _two_views(run: Run) -> None:
    steps = run.optimiser.in_backward(NAMES)
    (run.view(2, in_backward=steps) + run.view(3, in_backward=steps)).backward()


def _two_passes(run: Run) -> None:
    steps = run.optimiser.in_backward(NAMES)
    run.view(3, in_backward=steps).backward()
    run.view(3, in_backward=steps).backward()


def _another_term(run: Run) -> None:
    steps = run.optimiser.in_backward(NAMES)
    (run.view(3, in_backward=steps) + run.gaussians.opacity_logits.sum()).backward()
    run.optimiser.step()


def _colours_first(run: Run) -> None:
    steps = run.optimiser.in_backward(["means"])
    g = run.gaussians
    color = gaussian_color(g.means, torch.zeros(3, device=run.device), g.sh0, g.shN, 3)
    (color.sum() + run.view(3, in_backward=steps)).backward()


def _scaled_gradients(run: Run) -> None:
    steps = run.optimiser.in_backward(NAMES)
    run.view(3, in_backward=steps).backward()
    run.optimiser.step(grad_scale=0.5)


def _another_rate(run: Run) -> None:
    steps = run.optimiser.in_backward(NAMES)
    run.view(3, in_backward=steps).backward()
    run.optimiser.step(lr_scales={"shN": 0.5})


def _no_step_between(run: Run) -> None:
    steps = run.optimiser.in_backward(NAMES)
    run.view(3, in_backward=steps).backward()
    run.optimiser.in_backward(NAMES)


def _other_gaussians(run: Run) -> None:
    steps = run.optimiser.in_backward(NAMES)
    run.gaussians = run.gaussians.taken(torch.arange(N, device=run.device))
    run.view(3, in_backward=steps)


def _strided(run: Run) -> None:
    run.gaussians.means.data = run.gaussians.means.data.T.contiguous().T
    run.view(3, in_backward=run.optimiser.in_backward(NAMES))


def _averaged(run: Run) -> None:
    Adam([Group({"means": run.gaussians.means}, ema=0.9)]).in_backward(["means"])


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (_two_views, RuntimeError, TOO_LATE),
        (_two_passes, RuntimeError, TOO_LATE),
        (_another_term, ValueError, "'opacity_logits' has been moved .* another gradient"),
        (_colours_first, RuntimeError, TOO_LATE),
        (_scaled_gradients, ValueError, "no grad_scale"),
        (_another_rate, ValueError, "'shN' .* the same rates"),
        (_no_step_between, RuntimeError, r"call step\(\) first"),
        (_other_gaussians, ValueError, "another tensor than means"),
        (_strided, ValueError, "means must be contiguous"),
        (_averaged, ValueError, "'means' has a buffer, average or working copy"),
    ],
)
def test_what_would_be_another_step_is_refused(
    wrong: Callable[[Run], None], error: type[Exception], message: str, cuda_device: torch.device
) -> None:
    with pytest.raises(error, match=message):
        wrong(Run(cuda_device))


def test_compilation_is_refused(cuda_device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(cuda_device)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    with pytest.raises(ValueError, match=r"project: in_backward is not for torch\.compile"):
        run.view(3, in_backward=run.optimiser.in_backward(NAMES))


def test_unknown_names_are_refused() -> None:
    with pytest.raises(KeyError, match="no parameters \\['colors'\\]"):
        Run(torch.device("cpu")).optimiser.in_backward(["colors"])


def test_a_cpu_steps_after_the_backward_pass() -> None:
    run = Run(torch.device("cpu"), NAMES)
    assert run.optimiser.in_backward(NAMES) is None
    run.step(3)  # as without
    other = Run(torch.device("cpu"))
    other.step(3)
    assert_equal(run.state(), other.state())
