"""A mesh to a signed distance field, in one page: train, score, ask, write a mesh again.

    python examples/sdf.py [MESH] [--steps N] [--out RUN]

Without arguments: a torus that is made on the spot. Run it again and it goes on where it stopped."""

import argparse
from pathlib import Path

import numpy as np

import neural
from neural.scenes.files import mesh
from neural.train.tasks.field.config import FieldConfig
from neural.train.tasks.sdf.config import SdfConfig, SdfSamplingConfig, SdfViewConfig

parser = argparse.ArgumentParser(description="Train a signed distance field.")
parser.add_argument("mesh", nargs="?", type=Path)
parser.add_argument("--steps", type=int, default=400)
parser.add_argument("--out", type=Path, default=Path("runs/example-sdf"))
asked = parser.parse_args()

path = asked.mesh or asked.out.with_suffix(".ply")
if asked.mesh is None:
    i, j = (axis.ravel() for axis in np.indices((96, 48)))
    u, v, tube = i * 2 * np.pi / 96, j * 2 * np.pi / 48, 1 + 0.4 * np.cos(j * 2 * np.pi / 48)
    a, b, c, d = (x % 96 * 48 + y % 48 for x, y in ((i, j), (i, j + 1), (i + 1, j + 1), (i + 1, j)))
    corners = np.stack([tube * np.cos(u), 0.4 * np.sin(v), tube * np.sin(u)], axis=1)
    mesh.write(path, corners, np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]))

model, sampling = FieldConfig(log2_hashmap_size=15, finest_resolution=256), SdfSamplingConfig(batch_size=1 << 13)
config = SdfConfig(model, sampling, view=SdfViewConfig(size=256, resolution=128))
run = neural.train.sdf(path, config=config, steps=asked.steps, out=asked.out)
print(run.evaluate(), "\ndistance from the middle:", run(np.zeros((1, 3))))
print(run.exported(run.export(asked.out / "surface.ply", resolution=128)))
