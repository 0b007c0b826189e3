"""Photographs to a radiance field, in one page: train, score, render.

    python examples/radiance.py [CAPTURE] [--steps N] [--out RUN]

Without arguments: the small city in data/, on whatever device is there. Run it again and it goes on where it stopped.
"""

import argparse
from pathlib import Path

import neural

parser = argparse.ArgumentParser(description="Train a radiance field.")
parser.add_argument("capture", nargs="?", type=Path, default=Path(__file__).parents[1] / "data" / "city")
parser.add_argument("--steps", type=int, default=300)
parser.add_argument("--downscale", type=int, default=2, help="make the photographs smaller by this factor")
parser.add_argument("--out", type=Path, default=Path("runs/example"))
asked = parser.parse_args()

scene = neural.load(asked.capture, downscale=asked.downscale)
grid = neural.HashGrid(3, n_levels=12, log2_hashmap_size=16, finest_resolution=512)
field = neural.RadianceField(grid, aabb=scene.aabb, contraction="ball" if scene.unbounded else "none")

run = neural.train.radiance(field, scene, steps=asked.steps, out=asked.out)
print(run.evaluate())
run.render(path="orbit", frames=30)
