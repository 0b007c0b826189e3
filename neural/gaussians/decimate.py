"""Fewer Gaussians that look alike: neighbours merge in pairs, the pair first that changes pictures least.

A Gaussian seen from anywhere covers about a(C) = sqrt(tr adj(C) / 3): the root mean square over directions of the area
that its covariance C has in projection, over 2 pi. Products of two, summed over a picture, then are
a(C1) a(C2) / a(C1 + C2) exp(-d^T (C1 + C2)^-1 d / 2), and from these follow the squared change of a picture when a
pair becomes one Gaussian, and how much light the pair takes away, which its successor takes too.

Source: pairs by moments as in Kerbl et al. 2024, arXiv:2406.12080, section 4.1; the cost and the opacity are ours.
"""

from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neural.gaussians.model import Gaussians
from neural.gaussians.order import rotations
from neural.morton import morton_order
from neural.scenes.files.gaussians.record import SH_C0, SplatRecord

Scene = TypeVar("Scene", SplatRecord, Gaussians)
_SHIFTS = 3  # Morton curves through the cube shifted against it, so that none keeps the same neighbours apart
_AHEAD = 3  # along each curve, so many candidates for each Gaussian
_PAIRS = 1 << 15  # whose cost is reckoned at a time
_SHARE = 0.2  # of all Gaussians merge with another one in a round at most: the cheapest pairs
_TURNS = 6  # in which pairs are found among those that are still free
_MOST_OPACITY = 0.999  # beyond which a Gaussian grows instead
_THIN = 2.5e-3  # of the mean variance of a pair, added to it: distances across discs stay finite in single precision


def decimated(scene: Scene, n: int) -> Scene:
    """The scene with n Gaussians, or as it is where it has no more.

    Those that take part in no pair keep their parameters to the last bit, and their order.

    Args:
        scene: Gaussians, or a file's record of them; of the same kind is what comes back, on the CPU.
        n: How many are left, at least 1.

    Raises:
        ValueError: n below 1.
    """
    if n < 1:
        raise ValueError(f"decimated: at least one Gaussian must be left, got n = {n}")
    if isinstance(scene, SplatRecord):
        made = _decimated(Gaussians.from_record(scene), n).to_record()
        return replace(made, placement=scene.placement)
    return _decimated(scene.cpu() if scene.means.is_cuda else scene, n)


@dataclass
class _Mixture:
    """What pairs are reckoned from, a row for each quantity; lengths in units of the scene's size."""

    means: Float[Tensor, "3 N"]
    covars: Float[Tensor, "6 N"]  # xx xy xz yy yz zz
    opacities: Float[Tensor, "N"]
    areas: Float[Tensor, "N"]
    amplitudes: Float[Tensor, "4 N"]  # colour of degree 0, clamped, and 1; times the opacity

    def taken(self, rows: Int[Tensor, "M"]) -> "_Mixture":
        """Some columns."""
        parts = self.means, self.covars, self.opacities, self.areas, self.amplitudes
        return _Mixture(*(part.index_select(-1, rows) for part in parts))


@dataclass
class _Scene:
    """A mixture, and what it does not need to be reckoned with."""

    mixture: _Mixture
    features: Float[Tensor, "N F"]  # all harmonics, those of degree 0 first
    rows: Int[Tensor, "N"]  # of the scene, of which each is or the first of which it is made
    merged: Bool[Tensor, "N"]


@torch.no_grad()
def _decimated(scene: Gaussians, n: int) -> Gaussians:
    if scene.n <= n:
        return scene.taken(torch.arange(scene.n))
    middle = scene.means.detach().median(0).values
    size = float((scene.means.detach() - middle).norm(dim=1).median()) or 1.0
    current = _begun(scene, middle, size)
    while (more := len(current.rows) - n) > 0:
        first, second = _matched(current.mixture, more)
        current = _after(current, first, second)
    return _restored(scene, current, middle, size)


def _begun(scene: Gaussians, middle: Float[Tensor, "3"], size: float) -> _Scene:
    axes = rotations(scene.quats.detach()) * (scene.log_scales.detach().exp() / size)[:, None, :]
    covars = axes @ axes.transpose(1, 2)
    upper = torch.triu_indices(3, 3)
    features = torch.cat([scene.sh0.detach(), scene.shN.detach().flatten(1)], 1)
    mixture = _mixture(
        ((scene.means.detach() - middle) / size).T.contiguous(), covars[:, upper[0], upper[1]].T.contiguous(),
        scene.opacity_logits.detach().sigmoid(), features,
    )  # fmt: skip
    return _Scene(mixture, features, torch.arange(scene.n), torch.zeros(scene.n, dtype=torch.bool))


def _mixture(
    means: Float[Tensor, "3 N"], covars: Float[Tensor, "6 N"], opacities: Float[Tensor, "N"],
    features: Float[Tensor, "N F"],
) -> _Mixture:  # fmt: skip
    colors = (0.5 + SH_C0 * features[:, :3]).clamp(0, 1).T
    amplitudes = torch.cat([opacities * colors, opacities[None]])
    return _Mixture(means, covars, opacities, _area(covars), amplitudes)


def _matched(current: _Mixture, most: int) -> tuple[Int[Tensor, "P"], Int[Tensor, "P"]]:
    """Cheap pairs, at most so many and at most a share of all; no Gaussian is in two.

    In turns: pairs in which each is the other's cheapest candidate that is still free.
    """
    n = len(current.opacities)
    first, second = _candidates(current.means)
    parts = zip(first.split(_PAIRS), second.split(_PAIRS), strict=True)
    costs = torch.cat([_cost(current.taken(a), current.taken(b)) for a, b in parts])
    most = min(most, max(1, int(_SHARE * n)))
    chosen: list[Tensor] = []
    for _ in range(_TURNS):
        least = torch.full((n,), torch.inf)
        for side in (first, second):
            least.scatter_reduce_(0, side, costs, "amin")
        mutual = ((costs <= least[first]) & (costs <= least[second])).nonzero()[:, 0]
        owner = torch.full((n,), len(first))  # of equal ones, and of the same pair twice, the first
        for side in (first, second):
            owner.scatter_reduce_(0, side[mutual], mutual, "amin")
        sole = mutual[(owner[first[mutual]] == mutual) & (owner[second[mutual]] == mutual)]
        chosen.append(torch.stack([first[sole], second[sole], costs[sole].view(torch.int32).long()]))
        taken = torch.zeros(n, dtype=torch.bool)
        taken[first[sole]] = taken[second[sole]] = True
        free = ~(taken[first] | taken[second])
        first, second, costs = first[free], second[free], costs[free]
        if not len(first):
            break
    a, b, order = torch.cat(chosen, 1)  # bits of floats that are not negative are ordered as the floats are
    keep = order.argsort(stable=True)[:most]
    return a[keep], b[keep]


def _candidates(means: Float[Tensor, "3 N"]) -> tuple[Int[Tensor, "P"], Int[Tensor, "P"]]:
    """Numbers of Gaussians that lie close to one another on some curve."""
    points = means.T
    low, high = points.amin(0), points.amax(0)
    firsts, seconds = [], []
    for shift in range(_SHIFTS):
        corner = low - (high - low) * (0.37 * shift + 1e-3)
        order = morton_order(torch.cat([points, corner[None]]))
        order = order[order < len(points)]
        for step in range(1, min(_AHEAD, len(order) - 1) + 1):
            firsts.append(torch.minimum(order[:-step], order[step:]))
            seconds.append(torch.maximum(order[:-step], order[step:]))
    return torch.cat(firsts), torch.cat(seconds)


def _cost(i: _Mixture, j: _Mixture) -> Float[Tensor, "P"]:
    """Squared change of colours and opacity over a picture, when pairs become one each."""
    crossed = _overlap(i.means - j.means, i.covars + j.covars, i.areas, j.areas)
    means, covars, opacities, areas = _moments(i, j, crossed)
    light = _share(i, j)[1]
    u = opacities * ((i.areas / light) * i.amplitudes + (j.areas / light) * j.amplitudes)
    dimmed = 1 - i.opacities * j.opacities * crossed / light  # one hides some of the other
    u_i, u_j = dimmed * i.amplitudes, dimmed * j.amplitudes
    own = (u_i**2).sum(0) * i.areas + (u_j**2).sum(0) * j.areas + (u**2).sum(0) * areas
    cost = 0.5 * own + (u_i * u_j).sum(0) * crossed
    for one, seen in ((i, u_i), (j, u_j)):
        cost -= (seen * u).sum(0) * _overlap(one.means - means, one.covars + covars, one.areas, areas)
    return cost.clamp_min(0) / (1 + (means**2).sum(0))  # what is far off is seen small


def _moments(
    i: _Mixture, j: _Mixture, crossed: Float[Tensor, "P"]
) -> tuple[Float[Tensor, "3 P"], Float[Tensor, "6 P"], Float[Tensor, "P"], Float[Tensor, "P"]]:
    """Mean, covariance, opacity and area of the Gaussian that takes the light that both take: one and the other less
    both."""
    share, total = _share(i, j)
    x, y, z = gap = i.means - j.means
    covars = share * i.covars + (1 - share) * j.covars
    covars += share * (1 - share) * torch.stack([x * x, x * y, x * z, y * y, y * z, z * z])
    areas = _area(covars).clamp_min(1e-30)
    opacities = (total - i.opacities * j.opacities * crossed) / areas
    grown = (opacities / _MOST_OPACITY).clamp_min(1)
    return j.means + share * gap, covars * grown, opacities / grown, areas * grown


def _share(i: _Mixture, j: _Mixture) -> tuple[Float[Tensor, "P"], Float[Tensor, "P"]]:
    """The first one's share of the light that both take, and the light."""
    total = (i.opacities * i.areas + j.opacities * j.areas).clamp_min(1e-30)
    return i.opacities * i.areas / total, total


def _after(current: _Scene, first: Int[Tensor, "P"], second: Int[Tensor, "P"]) -> _Scene:
    """Each pair in the place of its first Gaussian."""
    old = current.mixture
    i, j = old.taken(first), old.taken(second)
    crossed = _overlap(i.means - j.means, i.covars + j.covars, i.areas, j.areas)
    means, covars, opacities, _ = _moments(i, j, crossed)
    old.means[:, first], old.covars[:, first], old.opacities[first] = means, covars, opacities
    share = _share(i, j)[0][:, None]
    current.features[first] = torch.lerp(current.features[second], current.features[first], share)
    current.merged[first] = True
    kept = torch.ones(len(current.rows), dtype=torch.bool)
    kept[second] = False
    rows = kept.nonzero()[:, 0]
    features = current.features[rows]
    mixture = _mixture(old.means[:, rows], old.covars[:, rows], old.opacities[rows], features)
    return _Scene(mixture, features, current.rows[rows], current.merged[rows])


def _adjugate(c: Float[Tensor, "6 P"]) -> Float[Tensor, "6 P"]:
    xx, xy, xz, yy, yz, zz = c
    return torch.stack([
        yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy, xx * zz - xz * xz, xy * xz - xx * yz,
        xx * yy - xy * xy,
    ])  # fmt: skip


def _area(c: Float[Tensor, "6 P"]) -> Float[Tensor, "P"]:
    """Root mean square over directions of the root of the determinant of the projection."""
    xx, xy, xz, yy, yz, zz = c
    return ((yy * zz - yz * yz + xx * zz - xz * xz + xx * yy - xy * xy) / 3).clamp_min(0).sqrt()


def _overlap(
    gap: Float[Tensor, "3 P"], c: Float[Tensor, "6 P"], a_i: Float[Tensor, "P"], a_j: Float[Tensor, "P"]
) -> Float[Tensor, "P"]:
    """Sum over a picture of the product of two, whose covariances add up to `c`."""
    xx, xy, xz, yy, yz, zz = c
    extra = (_THIN / 3) * (xx + yy + zz)
    thick = torch.stack([xx + extra, xy, xz, yy + extra, yz, zz + extra])
    adjugate = _adjugate(thick)
    det = (thick[:3] * adjugate[:3]).sum(0).clamp_min(1e-36)
    x, y, z = gap
    xx, xy, xz, yy, yz, zz = adjugate
    distance = ((xx * x + 2 * (xy * y + xz * z)) * x + (yy * y + 2 * yz * z) * y + zz * z * z) / det
    area = ((xx + yy + zz) / 3).clamp_min(1e-36).sqrt()
    return a_i * a_j / area * torch.exp(-0.5 * distance.clamp_min(0))


def _restored(scene: Gaussians, current: _Scene, middle: Float[Tensor, "3"], size: float) -> Gaussians:
    """Parameters before their activation: those of the scene where nothing has merged."""
    made = scene.taken(current.rows)
    new = current.merged.nonzero()[:, 0]
    mixture = current.mixture.taken(new)
    xx, xy, xz, yy, yz, zz = mixture.covars.double()
    covars = torch.stack([xx, xy, xz, xy, yy, yz, xz, yz, zz], 1).unflatten(1, (3, 3))
    variances, axes = torch.linalg.eigh(covars)
    if scene.surfels:  # discs lie across the third axis, the thinnest
        variances, axes = variances.flip(1), axes.flip(2)
    axes[:, :, 0] *= torch.linalg.det(axes).sign()[:, None]
    floor = (1e-6 * variances.amax(1, keepdim=True)).clamp_min(1e-30)
    made.means.data[new] = mixture.means.T * size + middle
    made.quats.data[new] = _quaternions(axes).float()
    made.log_scales.data[new] = (variances.maximum(floor).sqrt() * size).log().float()
    made.opacity_logits.data[new] = mixture.opacities.clamp(1e-7, _MOST_OPACITY).logit()
    made.sh0.data[new] = current.features[new, :3]
    made.shN.data[new] = current.features[new, 3:].reshape(len(new), *made.shN.shape[1:])
    return made


def _quaternions(matrices: Float[Tensor, "M 3 3"]) -> Float[Tensor, "M 4"]:
    """w x y z of rotations: the row of q q^T whose own component is largest, so that nothing small is divided by."""
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = (row.unbind(1) for row in matrices.unbind(1))
    table = torch.stack([
        1 + xx + yy + zz, zy - yz, xz - zx, yx - xy,
        zy - yz, 1 + xx - yy - zz, xy + yx, xz + zx,
        xz - zx, xy + yx, 1 - xx + yy - zz, yz + zy,
        yx - xy, xz + zx, yz + zy, 1 - xx - yy + zz,
    ], 1).unflatten(1, (4, 4))  # fmt: skip
    best = table.diagonal(dim1=1, dim2=2).argmax(1)
    return torch.nn.functional.normalize(table[torch.arange(len(table)), best], dim=1)
