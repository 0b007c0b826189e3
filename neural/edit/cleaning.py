"""Floaters and other rubbish removed, by criteria that each say what they found."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from neural.edit.criterion import Criterion
from neural.edit.islands import Islands
from neural.edit.shapes import Faint, Large
from neural.edit.sparse import Sparse
from neural.gaussians.model import Gaussians


@dataclass(frozen=True)
class Removal:
    """What one criterion did.

    Args:
        name: Of the criterion.
        found: Gaussians that it is about.
        alone: Those that no other criterion is about.
        said: The numbers that decided.
    """

    name: str
    found: int
    alone: int
    said: str


@dataclass(frozen=True)
class Cleaned:
    """A scene after `clean`.

    Args:
        gaussians: What is left, in the order it had.
        kept: Which rows of the scene these are.
        removals: One for each criterion, in their order.
    """

    gaussians: Gaussians
    kept: Bool[Tensor, "N"]
    removals: tuple[Removal, ...]

    def __str__(self) -> str:
        rows = [(r.name, f"{r.found:,}", f"{r.alone:,}", r.said) for r in self.removals]
        rows = [("criterion", "found", "alone", "because"), *rows]
        widths = [max(len(row[column]) for row in rows) for column in range(3)]
        return "\n".join(
            f"{name:<{widths[0]}}  {found:>{widths[1]}}  {alone:>{widths[2]}}  {said}"
            for name, found, alone, said in rows
        )


@torch.no_grad()
def clean(gaussians: Gaussians, criteria: Sequence[Criterion] | None = None) -> Cleaned:
    """The scene without what any of the criteria is about. Each sees the whole scene, so their order does not matter.

    Args:
        gaussians: Stay as they are.
        criteria: By default `Faint()`, `Large()`, `Sparse()` and `Islands()`, which need nothing but the scene.

    Raises:
        ValueError: No criterion, or nothing is left.
    """
    chosen = (Faint(), Large(), Sparse(), Islands()) if criteria is None else tuple(criteria)
    if not chosen:
        raise ValueError("clean: give at least one criterion")
    found = [criterion.find(gaussians) for criterion in chosen]
    votes = torch.stack([f.rows for f in found]).sum(dim=0)
    removals = tuple(
        Removal(criterion.name, int(f.rows.sum()), int((f.rows & (votes == 1)).sum()), f.said)
        for criterion, f in zip(chosen, found, strict=True)
    )
    kept = votes == 0
    if not bool(kept.any()):
        raise ValueError(
            f"clean: none of the {gaussians.n:,} Gaussians would be left:\n" + "\n".join(map(str, removals))
        )
    return Cleaned(gaussians.taken(kept.nonzero()[:, 0]), kept, removals)
