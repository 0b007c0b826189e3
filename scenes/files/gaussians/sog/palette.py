"""Many vectors as numbers of a few: k-means in two levels, so that no vector is compared with every entry.

Vectors are grouped about a few means first; each group gets entries of its own, more where it is large and wide, and
is clustered alone. Then all entries move in rounds in which a vector may also choose an entry of a group nearby.
Source: Lloyd 1982; the share of entries from Zador 1982, "Asymptotic quantization error"; the rounds across groups are
ours.
"""

import numpy as np
import torch
from jaxtyping import Float, Float32, Int, Int64
from torch import Tensor

_SAMPLE = 1 << 16  # vectors that the groups are found from
_GROUP_ROUNDS, _OWN_ROUNDS, _SHARED_ROUNDS = 8, 6, 3
_NEAR = 8  # groups that a vector may choose from
_ROWS = 1 << 15  # vectors compared at a time


@torch.no_grad()
def palette(
    vectors: Float32[np.ndarray, "N D"], n_entries: int, *, seed: int = 0
) -> tuple[Float32[np.ndarray, "K D"], Int64[np.ndarray, "N"]]:
    """Entries, and which of them stands for each vector.

    Args:
        vectors: At least as many as entries.
        n_entries: How many.
        seed: Of the choice of the first ones.

    Returns:
        The entries, and their numbers.
    """
    if (repeated := _repeated(vectors, n_entries)) is not None:
        return repeated
    generator = torch.Generator().manual_seed(seed)
    points = torch.from_numpy(np.ascontiguousarray(vectors))
    n_groups = max(1, round(n_entries**0.5))
    sample = points[torch.randperm(len(points), generator=generator)[:_SAMPLE]]
    means = _clustered(sample, n_groups, _GROUP_ROUNDS, generator)
    groups = _members(_nearest(points, means)[0], n_groups)
    entries, owners = [], []
    for group, n_own in enumerate(_shares(points, means, groups, n_entries)):
        if n_own:
            entries.append(_clustered(points[groups[group]], n_own, _OWN_ROUNDS, generator))
            owners.append(torch.full((n_own,), group))
    found, owner = torch.cat(entries), torch.cat(owners)
    for left in reversed(range(_SHARED_ROUNDS)):
        labels, distances = _among_near(points, groups, means, found, owner)
        if left:
            found = _moved(points, labels, distances, found)
    return found.numpy(), labels.numpy()


def _repeated(
    vectors: Float32[np.ndarray, "N D"], n_entries: int
) -> tuple[Float32[np.ndarray, "K D"], Int64[np.ndarray, "N"]] | None:
    """The distinct vectors where there are no more of them than entries: a scene that had a palette before keeps it."""
    bits = np.ascontiguousarray(vectors).view(np.uint32)
    odd = np.random.default_rng(0).integers(0, 1 << 63, (vectors.shape[1],), np.uint64)
    keys = np.zeros(len(vectors), dtype=np.uint64)
    for column in range(vectors.shape[1]):
        keys += bits[:, column] * (2 * odd[column] + 1)
    _, first, labels = np.unique(keys, return_index=True, return_inverse=True)
    if len(first) > n_entries or not np.array_equal(vectors[first][labels], vectors):
        return None
    return np.concatenate([vectors[first], np.repeat(vectors[first[:1]], n_entries - len(first), axis=0)]), labels


def _clustered(points: Float[Tensor, "N D"], n: int, rounds: int, generator: torch.Generator) -> Float[Tensor, "n D"]:
    """Means of n clusters, n at most the number of points."""
    means = points[torch.randperm(len(points), generator=generator)[:n]].clone()
    if n == len(points):
        return means
    for _ in range(rounds):
        means = _moved(points, *_nearest(points, means), means)
    return means


def _moved(
    points: Float[Tensor, "N D"], labels: Int[Tensor, "N"], distances: Float[Tensor, "N"], means: Float[Tensor, "K D"]
) -> Float[Tensor, "K D"]:
    """Each mean of the points that chose it; those that none chose go to the points that are farthest from theirs."""
    sums = torch.zeros_like(means).index_add_(0, labels, points)
    counts = torch.bincount(labels, minlength=len(means))
    moved = sums / counts.clamp_min(1)[:, None]
    unused = (counts == 0).nonzero()[:, 0]
    if len(unused):
        worst = distances.topk(min(len(unused), len(points))).indices
        moved[unused[: len(worst)]] = points[worst]
    return moved


def _nearest(points: Float[Tensor, "N D"], means: Float[Tensor, "K D"]) -> tuple[Int[Tensor, "N"], Float[Tensor, "N"]]:
    """Which mean each point is nearest to, and the squared distance."""
    labels, distances = [], []
    half = 0.5 * means.square().sum(1)
    for part in points.split(_ROWS):
        best = torch.addmm(half, part, means.T, alpha=-1).min(1)
        labels.append(best.indices)
        distances.append((2 * best.values + part.square().sum(1)).clamp_min(0))
    return torch.cat(labels), torch.cat(distances)


def _members(labels: Int[Tensor, "N"], n: int) -> list[Int[Tensor, "M"]]:
    """The rows of each label."""
    return list(labels.argsort(stable=True).split(torch.bincount(labels, minlength=n).tolist()))


def _shares(
    points: Float[Tensor, "N D"], means: Float[Tensor, "G D"], groups: list[Int[Tensor, "M"]], n_entries: int
) -> list[int]:
    """Entries of each group: e of the squared distances to its mean goes to e^(D / (D + 2)), 1 to the group's size."""
    sizes = np.array([len(rows) for rows in groups])
    spread = np.array([float((points[rows] - mean).square().sum()) for rows, mean in zip(groups, means, strict=True)])
    dims = points.shape[1]
    weight = np.where(sizes > 0, spread, 0) ** (dims / (dims + 2)) + 1e-12 * sizes
    least = np.minimum(sizes, 1)
    shares = least.copy()
    while (left := n_entries - int(shares.sum())) > 0:
        open_to = np.where(shares < sizes, weight, 0)
        more = np.minimum(np.floor(left * open_to / open_to.sum()).astype(np.int64), sizes - shares)
        if not more.any():  # the last few, one each to those with the most weight for an entry
            order = np.argsort(-open_to / (shares + 1), kind="stable")[:left]
            more[order] = (shares < sizes)[order]
        shares += more
    return shares.tolist()


def _among_near(
    points: Float[Tensor, "N D"],
    groups: list[Int[Tensor, "M"]],
    means: Float[Tensor, "G D"],
    entries: Float[Tensor, "K D"],
    owner: Int[Tensor, "K"],
) -> tuple[Int[Tensor, "N"], Float[Tensor, "N"]]:
    """The nearest entry of the groups that lie nearest to a point's own, and its squared distance."""
    of_group = _members(owner, len(means))
    owning = torch.tensor([group for group, own in enumerate(of_group) if len(own)])
    near = owning[torch.cdist(means, means[owning]).topk(min(_NEAR, len(owning)), largest=False).indices]
    labels, distances = torch.zeros(len(points), dtype=torch.int64), torch.zeros(len(points))
    for rows, others in zip(groups, near.tolist(), strict=True):
        if len(rows):
            choice = torch.cat([of_group[other] for other in others])
            best, distances[rows] = _nearest(points[rows], entries[choice])
            labels[rows] = choice[best]
    return labels, distances
