"""What every edit does around its work: refuses what it may not write, reads, writes, says what came of it."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from neural.cli import UsageError

if TYPE_CHECKING:
    from neural.gaussians.model import Gaussians

Source = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="IN")]
Out = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT")]


def edited(source: Path, out: Path, overwrite: bool, change: "Callable[[Gaussians], Gaussians]") -> None:
    """Reads one scene, changes it, writes it and says so.

    Raises:
        UsageError: What the change refuses with a ValueError.
    """
    from neural.edit import files

    files.require_free(out, inputs=[source], overwrite=overwrite)
    before = files.read(source)
    with refusals():
        after = change(before)
    finish(after, out, [source], overwrite, f"{after.n:,} of {before.n:,} Gaussians" if after.n != before.n else None)


def finish(gaussians: "Gaussians", out: Path, inputs: list[Path], overwrite: bool, said: str | None = None) -> None:
    """Writes a scene and says what it holds."""
    from neural.edit import files

    path = files.write(gaussians, out, inputs=inputs, overwrite=overwrite)
    print(f"{said or f'{gaussians.n:,} Gaussians'}, {path.stat().st_size / 1e6:.1f} MB, in {path}")


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    """Values that cannot be meant, as what was typed wrongly."""
    from neural.errors import NeuralError

    try:
        yield
    except NeuralError:
        raise
    except ValueError as error:
        raise UsageError(str(error)) from None
