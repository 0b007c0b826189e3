"""Encodings as modules: shapes, the features of their ops, gradients, and errors that say what to do."""

import pytest
import torch

from neural.cuda.axis_encoding import one_blob, triangle_wave
from neural.cuda.frequency import frequency
from neural.cuda.spherical_harmonics import spherical_harmonics
from neural.encodings.base import Encoding
from neural.encodings.composite import Composite
from neural.encodings.frequency import Frequency
from neural.encodings.identity import Identity
from neural.encodings.one_blob import OneBlob
from neural.encodings.spherical_harmonics import SphericalHarmonics
from neural.encodings.triangle_wave import TriangleWave


@pytest.mark.parametrize(
    "encoding",
    [
        Frequency(3, 4),
        Frequency(1, 1),
        SphericalHarmonics(4),
        Identity(5),
        TriangleWave(3),
        OneBlob(2, 4),
        Composite([Frequency(2, 3), Identity(1)]),
        Composite([OneBlob(2, 4), Frequency(1, 4)], mode="product"),
    ],
    ids=lambda encoding: type(encoding).__name__,
)
def test_outputs_have_the_announced_width(encoding: Encoding) -> None:
    out = encoding(torch.rand(11, encoding.n_dims))
    assert out.shape == (11, encoding.n_output_dims)
    assert encoding(torch.rand(0, encoding.n_dims)).shape == (0, encoding.n_output_dims)
    assert f"{encoding.n_dims} -> {encoding.n_output_dims}" in repr(encoding)


def test_modules_give_the_features_of_their_ops() -> None:
    x = torch.nn.functional.normalize(torch.randn(9, 3), dim=-1)
    assert torch.equal(Frequency(3, 5)(x), frequency(x, 5))
    assert torch.equal(SphericalHarmonics(3)(x), spherical_harmonics(x, 3))
    assert torch.equal(TriangleWave(3, 5)(x), triangle_wave(x, 5))
    assert torch.equal(OneBlob(3, 5)(x), one_blob(x, 5))
    assert torch.equal(Identity(3)(x), x)
    torch.testing.assert_close(Identity(3, scale=2.0, offset=-1.0)(x), 2 * x - 1)


def test_composite_concatenates_over_slices_in_feature_major_order() -> None:
    x = torch.rand(7, 5, requires_grad=True)
    out = Composite([Frequency(3, 2), Identity(2)])(x)
    assert torch.equal(out, torch.cat([frequency(x[:, :3], 2), x[:, 3:]], 1))
    assert out.stride() == (1, 7)
    out.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad[:, 3:], torch.ones(7, 2))
    angles = torch.pi * x.detach()[:, :3]
    slopes = sum(s * torch.pi * ((s * angles).cos() - (s * angles).sin()) for s in (1, 2))
    torch.testing.assert_close(x.grad[:, :3], slopes, atol=1e-4, rtol=1e-5)


def test_composite_parts_may_share_dimensions_and_register_parameters() -> None:
    class Learned(Encoding):
        def __init__(self) -> None:
            super().__init__(3, 2)
            self.weight = torch.nn.Parameter(torch.rand(3, 2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x @ self.weight

    both = Composite([Learned(), Identity(3)], starts=[0, 0])
    assert both.n_dims == 3 and both.n_output_dims == 5
    assert [name for name, _ in both.named_parameters()] == ["parts.0.weight"]
    x = torch.rand(4, 3)
    assert torch.equal(both(x)[:, 2:], x)


@pytest.mark.parametrize("mode", ["sum", "product"])
def test_composite_adds_and_multiplies_parts_each_on_its_slice(mode) -> None:
    x = torch.rand(7, 5, requires_grad=True)
    parts = [TriangleWave(2, 3), OneBlob(3, 2)]
    out = Composite(parts, mode=mode)(x)
    first, second = triangle_wave(x[:, :2], 3), one_blob(x[:, 2:], 2)
    assert torch.equal(out, first + second if mode == "sum" else first * second)
    assert out.shape == (7, 6) and out.stride() == (1, 7)
    (grad,) = torch.autograd.grad(out.sum(), x)
    (ours,) = torch.autograd.grad((first + second if mode == "sum" else first * second).sum(), x)
    torch.testing.assert_close(grad, ours)


def test_the_encoding_of_neural_radiance_caching_is_a_composite() -> None:
    """Positions as triangle waves, directions and roughness as blobs, albedo and specular colour as they are: 62 values
    of 14, nested composites and shared code and all."""
    surface = Composite([OneBlob(5, 4), Identity(6)])
    nrc = Composite([TriangleWave(3, 12), surface])
    x = torch.rand(11, 14)
    out = nrc(x)
    assert out.shape == (11, 36 + 20 + 6)
    assert torch.equal(out[:, :36], triangle_wave(x[:, :3], 12))
    assert torch.equal(out[:, 36:56], one_blob(x[:, 3:8], 4))
    assert torch.equal(out[:, 56:], x[:, 8:])
    torch.testing.assert_close(out[:, 36:56].reshape(11, 5, 4).sum(2), torch.ones(11, 5))


def test_wrong_arguments_say_what_to_do() -> None:
    with pytest.raises(ValueError, match="degree must be 1 to 8, got 9"):
        SphericalHarmonics(9)
    with pytest.raises(ValueError, match="n_frequencies 1 to 60, got 3 and 0"):
        Frequency(3, 0)
    with pytest.raises(ValueError, match="at least one encoding"):
        Composite([])
    with pytest.raises(ValueError, match=r"starts must be 1 dimensions from 0 on, got \[0, 1\]"):
        Composite([Identity(2)], starts=[0, 1])
    with pytest.raises(ValueError, match=r"x must be \[N, 3\], got \[4, 2\]"):
        Composite([Identity(3)])(torch.zeros(4, 2))
    with pytest.raises(ValueError, match=r"a product needs parts with equally many features, got \[3, 2\]"):
        Composite([Identity(3), Identity(2)], mode="product")
    with pytest.raises(ValueError, match="mode must be one of concatenate, sum, product, got 'mean'"):
        Composite([Identity(3)], mode="mean")
    with pytest.raises(ValueError, match="n_bins 1 to 1024, got 3 and 0"):
        OneBlob(3, 0)
    with pytest.raises(ValueError, match="n_frequencies 1 to 60, got 0 and 3"):
        TriangleWave(0, 3)
