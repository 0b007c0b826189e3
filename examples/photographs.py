"""Photographs, of whose cameras nothing is known, to a page for any browser, in one page (extra [photos]).

    python examples/photographs.py [PHOTOS] [--minutes M] [--out RUN]

Without arguments: the photographs of the small city in data/. Run it again and it goes on where it stopped.
"""

import argparse
from pathlib import Path

import neural

parser = argparse.ArgumentParser(description="Photographs to a page.")
parser.add_argument("photographs", nargs="?", type=Path, help="a folder, or a video")
parser.add_argument("--minutes", type=float, default=2.0, help="of training")
parser.add_argument("--out", type=Path, default=Path("runs/example-photographs"))
asked = parser.parse_args()

bundled = Path(__file__).parents[1] / "data" / "city" / "images"
found = neural.reconstruct(asked.photographs or bundled, out=asked.out, minutes=asked.minutes)
print(f"{found.registered} of {found.photographs} photographs have a camera")
print(found.run.evaluate())
print("to look at:", *found.files, sep="\n  ")
