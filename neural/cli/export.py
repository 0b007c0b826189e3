"""`neural export RUN FILE`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

import neural
from neural.cli import UsageError
from neural.cli.options import call
from neural.interrupt import EXIT_DONE


@dataclass(frozen=True)
class Export:
    """Write what a run has trained as a file for other programs."""

    run: tyro.conf.Positional[Path]
    """Folder of the run."""
    file: tyro.conf.Positional[Path]
    """What to write; splats: .ply (3DGS, everything), .compressed.ply, .spz, .sog (also as DIR/meta.json, or with
    levels of detail as DIR/lod-meta.json), .splat (one colour), .glb, .usdc, .usda, .html (a page for any browser;
    index.html: one whose scene streams), .obj (a mesh); signed distances: a mesh, .ply, .obj or .glb; a volume: .npy
    of voxels."""
    frame: str | None = None
    """Splats: coordinates of the capture's files ("input", the default), of the scene as it was trained ("scene"), or
    those of the input turned to axes: directions of x, y and z such as RUB (right, up, back), RFU or FLU."""
    axes: str | None = None
    """Splats: axes of the file by three letters, in place of those that its format has by convention."""
    tile: float | None = None
    """Splats: side of cubes, units of the file; each is written to a file of its own, and an index of them."""
    sh_bits: tuple[int, int] | None = None
    """.spz: bits kept of harmonics of degree 1 and of those above, 1 to 8; 5 and 4 by default."""
    version: int | None = None
    """.spz: version of the format, 2, 3 (the default) or 4."""
    form: Literal["splats", "mesh", "points", "maps"] | None = None
    """Splats and radiance: a mesh (.glb, .ply, .obj), points (.ply) or maps of depth and normals (a
    folder), fused from rendered depths (extra [mesh]); splats are written as such by default."""
    resolution: int | None = None
    """Meshes and points: cells along the longest side of the box; 256 by default."""
    faces: int | None = None
    """Meshes of splats and radiance: triangles to simplify to; 50,000 of a .glb with a texture, else all by default."""
    texture: int | None = None
    """Meshes of splats and radiance as .glb: pixels along a side of the texture; 2048 by default, 0 for none."""
    exposure: str | None = None
    """Splats: name of a training photograph whose learnt colours are baked in; else the scene's mean colours."""


def main(arguments: Sequence[str]) -> int:
    given = tyro.cli(Export, prog="neural export", args=list(arguments))

    from neural.train.load import run_class
    from neural.train.trained import TrainedRun

    kind = run_class(given.run)
    if not kind.exports:
        raise UsageError(f"{given.run} is a run of kind {kind.kind!r}, which is not exported so far")
    if given.form != "maps" and not given.file.name.lower().endswith(kind.exports):
        raise UsageError(f"FILE must end in {' or '.join(kind.exports)}, got {given.file}")
    run = neural.load_run(given.run, device="cpu")
    options = {
        name: getattr(given, name)
        for name in (
            "frame",
            "axes",
            "tile",
            "sh_bits",
            "version",
            "exposure",
            "form",
            "resolution",
            "faces",
            "texture",
        )
    }
    written = call(run.export, {"path": given.file, **options}, run.kind)
    plain = given.form not in (None, "splats") or written.suffix.lower() == ".obj"
    print(TrainedRun.exported(run, written) if plain else run.exported(written))
    return EXIT_DONE
