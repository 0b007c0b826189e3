"""A voxel grid to a field of density and albedo, in one page: train, score, render.

    python examples/volume.py [GRID] [--steps N] [--out RUN]

Without arguments: a cloud that is made on the spot. Run it again and it goes on where it stopped.
"""

import argparse
from pathlib import Path

import neural
from neural.scenes.synthetic.cloud import CloudRecipe, write
from neural.train.tasks.field.config import FieldConfig
from neural.train.tasks.volume.config import VolumeConfig, VolumeViewConfig

parser = argparse.ArgumentParser(description="Train a volume.")
parser.add_argument("grid", nargs="?", type=Path, help=".npy or .npz: density [X, Y, Z], with albedo [X, Y, Z, 4]")
parser.add_argument("--steps", type=int, default=400)
parser.add_argument("--downscale", type=int, default=1, help="make the cloud coarser by this factor")
parser.add_argument("--out", type=Path, default=Path("runs/example-volume"))
asked = parser.parse_args()

grid = asked.grid or asked.out.with_suffix(".npy")
if not grid.exists():
    write(CloudRecipe(resolution=192 // asked.downscale), grid)

config = VolumeConfig(
    model=FieldConfig(encoding="hash", log2_hashmap_size=16),
    view=VolumeViewConfig(views=4, size=240 // asked.downscale),
)
run = neural.train.volume(grid, config=config, steps=asked.steps, out=asked.out)
print(run.evaluate())
run.render(path="orbit", frames=30)
