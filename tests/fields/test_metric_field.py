"""The field on metric grids: published sizes and initial weights, gradients, learning, in place of `Field`."""

import math

import pytest
import torch

from neural.cuda.gradients import GradientBuffer
from neural.cuda.reference import hash_grid as grid_reference
from neural.cuda.reference import metric_maps as maps_reference
from neural.cuda.reference import modulated_sine as decoder_reference
from neural.encodings.metric_grids import MetricGrids
from neural.fields.metric import ExtrapolationDecoder, MetricField
from neural.optim import Adam, Group

SMALL = {"n_levels": 4, "log2_hashmap_size": 8, "base_resolution": 4, "finest_resolution": 40}


def test_parameters_are_as_many_as_published() -> None:
    image = MetricField(MetricGrids(2), 3)
    assert image.decoder.spec.n_params == 19_779
    assert sum(p.numel() for p in image.parameters()) == 206_403
    distance = MetricField(MetricGrids(3, n_levels=15, log2_hashmap_size=15, finest_resolution=2048), 1)
    assert distance.decoder.spec.n_params == 20_737
    assert sum(p.numel() for p in distance.parameters()) == 905_233


def test_weights_start_as_published() -> None:
    decoder = ExtrapolationDecoder(2, 26, 3, seed=3)
    siren, linear = math.sqrt(6 / 64) / 30, 1 / math.sqrt(26)
    bounds = [1 / 26, 1 / math.sqrt(2), *[siren, linear] * 3, siren]
    for (weight, bias), bound in zip(decoder.maps(), bounds, strict=True):
        assert 0.9 * bound < float(weight.detach().abs().max()) <= bound
        assert 0.5 * bound < float(bias.detach().abs().max()) <= bound
        assert abs(float(weight.detach().mean())) < 0.2 * bound
    same, other = (ExtrapolationDecoder(2, 26, 3, seed=seed).params for seed in (3, 4))
    assert torch.equal(decoder.params, same) and not torch.equal(decoder.params, other)


def _reference(field: MetricField, x: torch.Tensor, table: torch.Tensor, params: torch.Tensor) -> torch.Tensor:
    n = x.shape[0]
    features = grid_reference.forward(
        maps_reference.forward(x, 0), table, field.encoding.levels, torch.tensor([0, n, 2 * n, 3 * n]), None, 1, 1
    )
    return decoder_reference.forward(x, features, params, field.decoder.spec)


def _trained_size(field: MetricField) -> MetricField:
    with torch.no_grad():
        field.encoding.table.mul_(100)
    return field


def test_values_and_all_gradients_match_plain_torch() -> None:
    field = _trained_size(MetricField(MetricGrids(3, **SMALL), 2, width=32))
    x = torch.rand(50, 3, generator=torch.Generator().manual_seed(1)) * 0.98 + 0.01
    upstream = torch.randn(50, 2, generator=torch.Generator().manual_seed(2))
    leaves = x.clone().requires_grad_(), field.encoding.table, field.decoder.params
    exact = tuple(t.detach().double().requires_grad_() for t in leaves)
    got, want = field(leaves[0]), _reference(field, *exact)
    torch.testing.assert_close(got.double(), want, atol=2e-4, rtol=0)
    for a, b in zip(
        torch.autograd.grad(got, leaves, upstream), torch.autograd.grad(want, exact, upstream.double()), strict=True
    ):
        torch.testing.assert_close(a.double(), b, atol=float(b.abs().max()) * 2e-3, rtol=0)


def test_an_eikonal_loss_trains_on_the_gradient_of_the_reference() -> None:
    field = _trained_size(MetricField(MetricGrids(3, **SMALL), 1, width=32, n_hidden_layers=3))
    x = torch.rand(40, 3, generator=torch.Generator().manual_seed(4)) * 0.98 + 0.01

    def loss(values, leaf):
        (normals,) = torch.autograd.grad(values.sum(), leaf, create_graph=True)
        return (normals.norm(dim=-1) - 1).square().mean()

    leaf, exact = x.clone().requires_grad_(), x.double().requires_grad_()
    ours = field.encoding.table, field.decoder.params
    theirs = tuple(t.detach().double().requires_grad_() for t in ours)
    got = torch.autograd.grad(loss(field(leaf), leaf), ours)
    want = torch.autograd.grad(loss(_reference(field, exact, *theirs), exact), theirs)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a.double(), b, atol=float(b.abs().max()) * 5e-3, rtol=0)


def test_it_learns_a_pattern_that_its_grids_are_too_coarse_for() -> None:
    # waves of 15 vertices per axis against grids of at most 8: a linear interpolation of the grids cannot follow
    field = MetricField(MetricGrids(2, n_levels=2, log2_hashmap_size=8, base_resolution=4, finest_resolution=8), 1)
    groups = []
    for module, name, lr in ((field.encoding, "table", 1e-2), (field.decoder, "params", 1e-3)):
        parameter = getattr(module, name)
        module.gradients = GradientBuffer.like(parameter)
        buffers = {name: module.gradients}
        groups.append(Group({name: parameter}, lr=lr, betas=(0.9, 0.99), eps=1e-15, buffers=buffers))
    optimiser = Adam(groups)
    x = torch.rand(2048, 2, generator=torch.Generator().manual_seed(1))
    target = (torch.sin(24 * x[:, :1]) * torch.cos(20 * x[:, 1:])) * 0.5
    losses = []
    for _ in range(150):
        loss = (field(x) - target).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.02 * float(target.var())
    assert field.encoding.table.grad is None and field.decoder.params.grad is None


@pytest.mark.parametrize("activation", ["none", "sigmoid", "softplus"])
def test_outputs_have_their_activation(activation: str) -> None:
    values = MetricField(MetricGrids(2, **SMALL), 2, output_activation=activation)(torch.rand(200, 2))  # type: ignore[arg-type]
    assert values.shape == (200, 2)
    assert (values.min() < 0) == (activation == "none")


def test_a_wrong_size_is_named() -> None:
    with pytest.raises(ValueError, match="width must be a multiple of 16"):
        MetricField(MetricGrids(2, **SMALL), 2, width=20)
