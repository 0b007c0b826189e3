"""A picture to an encoding and a small network, in one page: train, score, look closer.

    python examples/image.py [PICTURE] [--steps N] [--encoding KIND] [--out RUN]

Without arguments: a photograph of the small city in data/, on whatever device is there.
"""

import argparse
from pathlib import Path

import neural
from neural.train.tasks.field.config import FieldConfig

parser = argparse.ArgumentParser(description="Train an image.")
parser.add_argument("picture", nargs="?", type=Path)
parser.add_argument("--steps", type=int, default=300)
parser.add_argument("--encoding", default="hash", help="hash, dense, simplex, metric, probed, scalable, frequency ...")
parser.add_argument("--out", type=Path, default=Path("runs/example-image"))
asked = parser.parse_args()

photographs = Path(__file__).parents[1] / "data" / "city" / "images"
picture = neural.open_picture(asked.picture or min(photographs.iterdir()))
config = neural.ImageConfig(model=FieldConfig(encoding=asked.encoding))

run = neural.train.image(picture, config=config, steps=asked.steps, out=asked.out)
print(run.evaluate())
run.render(crop=(0, 0, picture.width // 2, picture.height // 2), size=2 * picture.width)
