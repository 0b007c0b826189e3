"""`python -m neural.scenes.synthetic --out FOLDER [options]`: write a synthetic city as a capture.

Without options it writes the scene of the demo, byte for byte the one in `data/city`.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path

import tyro

from neural.scenes.synthetic.capture import Recipe, write


@dataclass(frozen=True)
class Arguments:
    """Write a synthetic city as a capture.

    Args:
        out: Folder to write.
        overwrite: Replace the folder if it exists.
        recipe: What to render.
    """

    out: Path
    overwrite: bool = False
    recipe: tyro.conf.OmitArgPrefixes[Recipe] = field(default_factory=Recipe)


def main(args: list[str] | None = None) -> int:
    """Exit code 0 when the capture is written, 2 for arguments that make no sense."""
    try:
        arguments = tyro.cli(Arguments, args=args, prog="python -m neural.scenes.synthetic")
        write(arguments.recipe, arguments.out, overwrite=arguments.overwrite)
    except (ValueError, FileExistsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
