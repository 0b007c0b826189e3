"""One piece of a model: photographs that see points in common, enough of them to fix their sizes against each other.

A global mapper may give poses to groups that it could not tie together: each is right in itself, but one may be ten
thousand times as large as the other, and nothing that is measured in pixels shows it.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool

from neural.scenes.photographs.sfm.stages import Model

SHARED = 10  # points of a group that a photograph must see to belong to it, at least
SHARE = 0.05  # of the points that it sees: a few wrong matches tie nothing together


def largest_piece(model: Model) -> Model:
    """The photographs of the largest group that hangs together, with the points that two of them see."""
    left = np.ones(len(model.indices), dtype=bool)
    kept = np.zeros_like(left)
    while left.sum() > kept.sum():
        group = _group(model, int(left.argmax()))
        left &= ~group
        if group.sum() > kept.sum():
            kept = group
    if kept.all():
        return model
    own = kept[model.camera_of]
    seen = np.bincount(model.point_of[own], minlength=len(model.points)) >= 2
    rows = own & seen[model.point_of]
    row_of, number_of = np.cumsum(kept) - 1, np.cumsum(seen) - 1
    return replace(
        model,
        indices=model.indices[kept], w2c=model.w2c[kept], lenses=model.lenses[kept], params=model.params[kept],
        points=model.points[seen], errors=model.errors[seen],
        point_of=number_of[model.point_of[rows]], camera_of=row_of[model.camera_of[rows]],
        feature_of=model.feature_of[rows],
    )  # fmt: skip


def _group(model: Model, first: int) -> Bool[np.ndarray, "N"]:
    """Photographs that hang together with one, directly or through others."""
    group = np.arange(len(model.indices)) == first
    least = np.maximum(SHARED, SHARE * np.bincount(model.camera_of, minlength=len(group)))
    while True:
        known = np.zeros(len(model.points), dtype=bool)
        known[model.point_of[group[model.camera_of]]] = True
        shared = np.bincount(model.camera_of[known[model.point_of]], minlength=len(group))
        grown = group | (shared >= least)
        if (grown == group).all():
            return group
        group = grown
