"""`neural train TASK SCENE`: one module per task."""

import importlib
from collections.abc import Sequence

from neural.cli import choose
from neural.interrupt import EXIT_DONE, EXIT_USAGE

# task -> (module with `main(arguments) -> exit code`, what it does)
TASKS = {
    "splats": ("neural.cli.train_splats", "Gaussian splats, rasterised"),
    "radiance": ("neural.cli.train_radiance", "a radiance field (encoding and small networks), volume-rendered"),
    "image": ("neural.cli.train_image", "one picture of any size"),
    "volume": ("neural.cli.train_volume", "a field of density and albedo of a voxel grid, as clouds are"),
    "sdf": ("neural.cli.train_sdf", "a signed distance field of a mesh, sphere-traced"),
}


def main(arguments: Sequence[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        rows = "\n".join(f"  {name:<9} {what}" for name, (_, what) in TASKS.items())
        print(f"usage: neural train TASK SCENE [--out RUN] ...\n\ntasks:\n{rows}\n\nneural train TASK --help")
        return EXIT_DONE if arguments else EXIT_USAGE
    module, _ = TASKS[choose("task", arguments[0], list(TASKS))]
    return importlib.import_module(module).main(arguments[1:])
