"""An encoding of your own, in one page: random Fourier features beside a hash grid, as a radiance field's input.

    python examples/encoding.py [CAPTURE] [--steps N] [--out RUN]

Any module with `n_dims`, `n_output_dims` and a `forward` from [N, D] to [N, K] will do; nothing is registered.
"""

import argparse
from pathlib import Path

import torch

import neural

parser = argparse.ArgumentParser(description="Train a radiance field on an encoding of your own.")
parser.add_argument("capture", nargs="?", type=Path, default=Path(__file__).parents[1] / "data" / "city")
parser.add_argument("--steps", type=int, default=300)
parser.add_argument("--downscale", type=int, default=2, help="make the photographs smaller by this factor")
parser.add_argument("--out", type=Path, default=Path("runs/example-encoding"))
asked = parser.parse_args()


class RandomFourier(torch.nn.Module):
    """Sines of random waves (Tancik et al. 2020, arXiv:2006.10739)."""

    n_dims, n_output_dims = 3, 16
    waves = 2 * torch.pi * 8 * torch.randn(3, 16, generator=torch.Generator().manual_seed(0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x @ self.waves.to(x.device)).sin()


scene = neural.load(asked.capture, downscale=asked.downscale)
grid = neural.HashGrid(3, n_levels=8, log2_hashmap_size=15, finest_resolution=256)
encoding = neural.Composite([grid, RandomFourier()], starts=[0, 0])  # both read the same three dimensions
field = neural.RadianceField(encoding, aabb=scene.aabb, contraction="ball" if scene.unbounded else "none")
print(neural.train.radiance(field, scene, steps=asked.steps, out=asked.out).evaluate())
