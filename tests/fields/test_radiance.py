"""The radiance field: its parts, its units, its appearance, its gradients."""

import pytest
import torch

from neural.encodings.composite import Composite
from neural.encodings.frequency import Frequency
from neural.encodings.hash_grid import HashGrid
from neural.encodings.identity import Identity
from neural.fields.radiance import MAX_LOG_DENSITY, RadianceField

BOX = torch.tensor([[-1.0, -2.0, 0.0], [1.0, 2.0, 2.0]])


def small(**options: object) -> RadianceField:
    grid = HashGrid(3, n_levels=4, log2_hashmap_size=10, base_resolution=4, finest_resolution=32)
    return RadianceField(grid, **{"aabb": BOX, "density_width": 16, "color_width": 16, **options})


def somewhere(n: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions in the box, from its middle; unit directions."""
    generator = torch.Generator().manual_seed(seed)
    positions = (torch.rand(n, 3, generator=generator) - 0.5) * (BOX[1] - BOX[0])
    directions = torch.nn.functional.normalize(torch.randn(n, 3, generator=generator), dim=-1)
    return positions, directions


@pytest.mark.parametrize("contraction", ["none", "ball"])
@pytest.mark.parametrize("activation", ["exp", "softplus"])
def test_densities_and_colours_are_in_range(contraction, activation) -> None:
    field = small(contraction=contraction, density_activation=activation)
    densities, rgb = field(*somewhere(50))
    assert densities.shape == (50,)
    assert rgb.shape == (50, 3)
    assert bool((densities > 0).all())
    assert bool(((rgb > 0) & (rgb < 1)).all())


def test_the_parts_are_put_together_as_documented() -> None:
    field = small()
    positions, directions = somewhere(9)
    densities, geo = field.density(positions)
    assert field.origin.tolist() == [0, 0, 1]
    unit = positions / 4 + 0.5  # the enclosing cube of the box has sides of 4
    raw = field.density_mlp(field.encoding(unit))
    torch.testing.assert_close(geo, raw)
    torch.testing.assert_close(densities, (raw[:, 0] - 1).exp() / 2)  # bias -1, half a side of 2
    rgb = field.color_mlp(torch.cat([field.direction_encoding(directions), raw], -1))
    torch.testing.assert_close(field.color(directions, geo), rgb)


def test_a_scene_in_other_units_has_the_same_picture() -> None:
    """Density is per scene unit: with ten times the box, a tenth of the density at the same place."""
    near, far = small(), small(aabb=10 * BOX)
    positions, _ = somewhere(20)
    torch.testing.assert_close(near.density(positions)[0], 10 * far.density(10 * positions)[0], rtol=1e-4, atol=1e-6)


def test_seeds_make_fields() -> None:
    positions, directions = somewhere(20)
    one, same, other = small(seed=1), small(seed=1), small(seed=2)
    assert torch.equal(one(positions, directions)[1], same(positions, directions)[1])
    assert not torch.equal(one(positions, directions)[1], other(positions, directions)[1])


def test_appearance_belongs_to_an_image_and_the_mean_to_none() -> None:
    field = small(n_images=3, appearance_dims=4)
    with torch.no_grad():
        field.appearance.copy_(torch.arange(12.0).reshape(3, 4) / 3)
    positions, directions = somewhere(6)
    _, geo = field.density(positions)
    images = torch.tensor([0, 1, 2, 0, 1, 2])
    rgb = field.color(directions, geo, images)
    assert torch.allclose(rgb[:3], field.color(directions[:3], geo[:3], images[:3]))
    assert not torch.allclose(rgb, field.color(directions, geo, images.flip(0)))
    with torch.no_grad():
        field.appearance.copy_(field.appearance.mean(0).expand(3, 4).clone())
    torch.testing.assert_close(field.color(directions, geo), field.color(directions, geo, images))


def test_gradients_reach_every_parameter_and_the_positions() -> None:
    field = small(n_images=2, appearance_dims=2)
    positions, directions = somewhere(40)
    positions.requires_grad_()
    densities, geo = field.density(positions)
    images = torch.arange(40) % 2
    (densities.sum() + field.color(directions, geo, images).square().sum()).backward()
    for name, parameter in field.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name
    assert positions.grad.abs().max() > 0


def test_a_huge_density_has_a_bounded_gradient() -> None:
    field = small(density_bias=MAX_LOG_DENSITY + 5)
    positions, _ = somewhere(10)
    densities, _ = field.density(positions)
    densities.sum().backward()
    assert bool((densities > 1e8).all())
    largest = float(field.density_mlp.params.grad.abs().max())
    assert 0 < largest < 10 * 2.718281828 ** (MAX_LOG_DENSITY + 1)


def test_any_encoding_of_three_dimensions_will_do() -> None:
    encoding = Composite([Frequency(3, 4), Identity(3)], starts=[0, 0])
    field = RadianceField(encoding, aabb=BOX, density_width=16, color_width=16)
    densities, rgb = field(*somewhere(8))
    (densities.sum() + rgb.sum()).backward()
    assert field.density_mlp.params.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_images": 3}, "go together"),
        ({"appearance_dims": 3}, "go together"),
        ({"aabb": BOX.flip(0)}, "x1 > x0"),
        ({"aabb": torch.zeros(3, 2)}, "aabb must be"),
        ({"density_width": 17}, "17"),
    ],
)
def test_what_cannot_be_built_is_refused(options, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**options)


def test_it_says_what_it_is() -> None:
    field = small(contraction="ball")
    count = sum(p.numel() for p in field.parameters())
    assert f"contraction=ball, half_side=2, {count} parameters" in repr(field)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch, of its own tracing
def test_the_field_compiles_as_one_graph() -> None:
    field = small()
    positions, directions = somewhere(32)
    compiled = torch.compile(lambda p, d: field(p, d), fullgraph=True, backend="aot_eager")
    densities, rgb = compiled(positions, directions)
    expected = field(positions, directions)
    torch.testing.assert_close(densities, expected[0])
    torch.testing.assert_close(rgb, expected[1])
    (densities.sum() + rgb.sum()).backward()
    assert field.encoding.table.grad.abs().max() > 0
