"""One piece of a model: photographs that see points in common, enough of them to fix their sizes against each other.

A global mapper may give poses to groups that it could not tie together: each is right in itself, but one may be ten
thousand times as large as the other, and nothing that is measured in pixels shows it.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Bool, Int

from neural.scenes.photographs.sfm.stages import Model

SHARED = 10  # points that two of a group see: a photograph that belongs to it sees so many, at least
SHARE = 0.05  # of the points that it sees: a few wrong matches tie nothing together


def largest_piece(model: Model) -> Model:
    """The photographs of the largest group that hangs together, with the points that two of them see."""
    sights = np.bincount(model.camera_of, minlength=len(model.indices))
    left = np.ones(len(model.indices), dtype=bool)
    kept = np.zeros_like(left)
    while left.any():  # one may be in several: a bad one may hang on a single good one
        group = _group(model, int(np.where(left, sights, -1).argmax()))
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
    """Photographs that hang together with one: each of them, after a first pair, sees points that two others place.

    Points that one other sees say in which direction it is, not how far.
    """
    group = np.arange(len(model.indices)) == first
    least = np.maximum(SHARED, SHARE * np.bincount(model.camera_of, minlength=len(group)))
    shared = _common(model, group, 1)
    shared[first] = 0
    partner = int((shared / least).argmax())
    if shared[partner] < least[partner]:
        return group
    group[partner] = True
    while True:
        grown = group | (_common(model, group, 2) >= least)
        if (grown == group).all():
            return group
        group = grown


def _common(model: Model, group: Bool[np.ndarray, "N"], others: int) -> Int[np.ndarray, "N"]:
    """How many of the points that each photograph sees so many of the group see."""
    known = np.bincount(model.point_of[group[model.camera_of]], minlength=len(model.points)) >= others
    return np.bincount(model.camera_of[known[model.point_of]], minlength=len(group))
