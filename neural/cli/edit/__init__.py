"""`neural edit WHAT IN OUT`: one module per edit; OUT is a new file, IN stays as it is."""

import importlib
from collections.abc import Sequence

from neural.cli import choose
from neural.interrupt import EXIT_DONE, EXIT_USAGE

# edit -> (module with `main(arguments) -> exit code`, what it does)
EDITS = {
    "crop": ("neural.cli.edit.crop", "keep what is inside of a box, a sphere or a polygon, or what is outside"),
    "transform": ("neural.cli.edit.transform", "move, turn, scale, change axes"),
    "merge": ("neural.cli.edit.merge", "several scenes into one:  neural edit merge IN IN ... OUT"),
    "decimate": ("neural.cli.edit.decimate", "fewer Gaussians: neighbours that look alike become one"),
    "clean": ("neural.cli.edit.clean", "remove floaters and what does not show"),
}


def main(arguments: Sequence[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        rows = "\n".join(f"  {name:<10} {what}" for name, (_, what) in EDITS.items())
        print(
            "usage: neural edit EDIT IN OUT ...\n\n"
            "IN: a Gaussian scene (.ply, .spz, .sog, ...) or the folder of a run; it is never changed.\n"
            f"OUT: a new file; its ending decides the format.\n\nedits:\n{rows}\n\nneural edit EDIT --help"
        )
        return EXIT_DONE if arguments else EXIT_USAGE
    module, _ = EDITS[choose("edit", arguments[0], list(EDITS))]
    return importlib.import_module(module).main(arguments[1:])
