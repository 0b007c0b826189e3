"""Photographs to Gaussian splats, in one page: train, score, render, write a file for any viewer.

    python examples/splats.py [CAPTURE] [--steps N] [--out RUN]

Without arguments: the small city in data/, on whatever device is there. Run it again and it goes on where it stopped.
"""

import argparse
from pathlib import Path

import neural

parser = argparse.ArgumentParser(description="Train Gaussian splats.")
parser.add_argument("capture", nargs="?", type=Path, default=Path(__file__).parents[1] / "data" / "city")
parser.add_argument("--steps", type=int, default=1000)
parser.add_argument("--downscale", type=int, default=1, help="make the photographs smaller by this factor")
parser.add_argument("--out", type=Path, default=Path("runs/splats-example"))
asked = parser.parse_args()

scene = neural.load(asked.capture, downscale=asked.downscale)
run = neural.train.splats(scene, steps=asked.steps, max_gaussians=30_000, out=asked.out)
print(run.evaluate())
run.render(path="orbit", frames=30)
run.export(asked.out / "scene.ply")
