"""Where a ray enters each of the four solids, and the outward normal there.

Solids are convex and one-sided: a ray hits where it enters. A ray that starts inside goes out unseen.
All functions work on N (ray, solid) pairs; arrays are laid out [3, N] so that each coordinate is contiguous.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float

from neural.scenes.synthetic.primitives import BOX, ELLIPSOID, FRUSTUM, ROOF, Primitives

Pairs = Float[np.ndarray, "3 N"]


def pack(solids: Primitives) -> Float[np.ndarray, "12 P"]:
    """Rows: centre 3, half 3, cos, sin, profile 4."""
    return np.ascontiguousarray(
        np.vstack([solids.centre.T, solids.half.T, np.cos(solids.yaw), np.sin(solids.yaw), solids.profile.T])
    )


def to_local(packed: Float[np.ndarray, "12 N"], points: Pairs, *, vector: bool = False) -> Pairs:
    """World points (or vectors) in the frame of their solid."""
    x, y, z = points if vector else points - packed[:3]
    cos, sin = packed[6], packed[7]
    return np.stack([cos * x + sin * y, cos * y - sin * x, z])


def to_world(packed: Float[np.ndarray, "12 N"], vectors: Pairs) -> Pairs:
    """Vectors in the frame of their solid, in the world."""
    x, y, z = vectors
    cos, sin = packed[6], packed[7]
    return np.stack([cos * x - sin * y, sin * x + cos * y, z])


def enter(kind: int, packed: Float[np.ndarray, "12 N"], origins: Pairs, directions: Pairs) -> Float[np.ndarray, "N"]:
    """Ray parameter where the ray enters its solid from outside; inf for a miss or a start inside."""
    o, d = to_local(packed, origins), to_local(packed, directions, vector=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        near, far = _INTERVAL[kind](packed, o, d)
    hit = (near <= far) & (near > 0.0)
    return np.where(hit, near, np.inf)


def normal(kind: int, packed: Float[np.ndarray, "12 N"], points: Pairs, directions: Pairs) -> Pairs:
    """Unit outward local normal at local surface points: of the faces that look at the ray, the tightest."""
    return _NORMAL[kind](packed, points, directions)


def _slab(o: Float[np.ndarray, "N"], d: Float[np.ndarray, "N"], half: Float[np.ndarray, "N"]):
    inverse = 1.0 / d
    centre, reach = -o * inverse, np.abs(half * inverse)
    near, far = centre - reach, centre + reach
    level = d == 0.0
    if level.any():
        inside = np.abs(o) <= half
        near = np.where(level, np.where(inside, -np.inf, np.inf), near)
        far = np.where(level, np.where(inside, np.inf, -np.inf), far)
    return near, far


def _box(packed, o, d):
    near, far = _slab(o[0], d[0], packed[3])
    for axis in (1, 2):
        low, high = _slab(o[axis], d[axis], packed[3 + axis])
        near, far = np.maximum(near, low), np.minimum(far, high)
    return near, far


def _roof(packed, o, d):
    near, far = _box(packed, o, d)
    for axis, slope, limit in ((0, packed[8], packed[9]), (1, packed[10], packed[11])):
        for side in (slope, -slope):
            speed = d[2] + side * d[axis]
            room = limit - (o[2] + side * o[axis])
            t = room / speed
            near = np.where(speed < 0.0, np.maximum(near, t), near)
            far = np.where(speed > 0.0, np.minimum(far, t), far)
            far = np.where((speed == 0.0) & (room < 0.0), -np.inf, far)
    return near, far


def _ellipsoid(packed, o, d):
    o, d = o / packed[3:6], d / packed[3:6]
    a, b, c = (d * d).sum(0), (o * d).sum(0), (o * o).sum(0) - 1.0
    # |o + t d|^2 = 1; the discriminant from the point nearest the centre keeps its digits far away
    nearest = o - (b / a) * d
    root = np.sqrt((1.0 - (nearest * nearest).sum(0)) / a)
    root = np.where(np.isnan(root), -np.inf, root)
    return np.where(c > 0.0, -b / a - root, -np.inf), -b / a + root


def _frustum(packed, o, d):
    hx, hy, hz, top = packed[3], packed[4], packed[5], packed[8]
    taper = (1.0 - top) / (2.0 * hz)
    ox, oy, dx, dy = o[0] / hx, o[1] / hy, d[0] / hx, d[1] / hy
    radius = 0.5 * (1.0 + top) - taper * o[2]
    shrink = taper * d[2]
    a = dx * dx + dy * dy - shrink * shrink
    b = ox * dx + oy * dy + shrink * radius
    c = ox * ox + oy * oy - radius * radius
    square = b * b - a * c
    root = np.sqrt(np.maximum(square, 0.0))
    t0, t1 = (-b - root) / a, (-b + root) / a
    t0, t1 = np.minimum(t0, t1), np.maximum(t0, t1)
    low, high = _slab(o[2], d[2], hz)
    # a > 0: inside between the roots. a < 0: inside before the first and after the second; one meets the slab
    open_near = np.where(low <= t0, low, np.maximum(low, t1))
    open_far = np.where(low <= t0, np.minimum(high, t0), high)
    wide = (a < 0.0) & (square >= 0.0)
    near = np.where(wide, open_near, np.maximum(low, t0))
    far = np.where(wide, open_far, np.minimum(high, t1))
    outside, always = (a > 0.0) & (square < 0.0), (a <= 0.0) & (square < 0.0)
    straight = a == 0.0  # along the axis of a cylinder, or parallel to the cone's side
    root = -c / (2.0 * b)
    near = np.where(straight, np.where(b < 0.0, np.maximum(low, root), low), near)
    far = np.where(straight, np.where(b > 0.0, np.minimum(high, root), high), far)
    flat = straight & (b == 0.0)
    near, far = np.where(always | flat, low, near), np.where(always | flat, high, far)
    return near, np.where(outside | (flat & (c > 0.0)), -np.inf, far)


def _faces(planes: list[tuple[Pairs, Float[np.ndarray, "N"]]], points: Pairs, directions: Pairs) -> Pairs:
    """The normal of the plane (n, limit: n.p <= limit) that is tightest among those facing the ray."""
    best = np.full(points.shape[1], -np.inf)
    result = np.zeros_like(points)
    for n, limit in planes:
        gap = np.where((n * directions).sum(0) < 0.0, (n * points).sum(0) - limit, -np.inf)
        better: Bool[np.ndarray, N] = gap > best
        best = np.where(better, gap, best)
        result = np.where(better, n, result)
    return result


def _box_planes(packed):
    count = packed.shape[1]
    planes = []
    for axis in range(3):
        for sign in (1.0, -1.0):
            n = np.zeros((3, count))
            n[axis] = sign
            planes.append((n, packed[3 + axis]))
    return planes


def _box_normal(packed, points, directions):
    return _faces(_box_planes(packed), points, directions)


def _roof_normal(packed, points, directions):
    planes = _box_planes(packed)
    for axis, slope, limit in ((0, packed[8], packed[9]), (1, packed[10], packed[11])):
        length = np.sqrt(1.0 + slope * slope)
        for sign in (1.0, -1.0):
            n = np.zeros_like(points)
            n[2] = 1.0 / length
            n[axis] += sign * slope / length
            planes.append((n, limit / length))
    return _faces(planes, points, directions)


def _ellipsoid_normal(packed, points, directions):
    gradient = points / packed[3:6] ** 2
    return gradient / np.sqrt((gradient * gradient).sum(0))


def _frustum_normal(packed, points, directions):
    hx, hy, hz, top = packed[3], packed[4], packed[5], packed[8]
    taper = (1.0 - top) / (2.0 * hz)
    radius = 0.5 * (1.0 + top) - taper * points[2]
    side = np.stack([points[0] / hx**2, points[1] / hy**2, taper * radius])
    length = np.maximum(np.sqrt((side * side).sum(0)), 1e-300)
    side = side / length
    reach = np.hypot(points[0] / hx, points[1] / hy)
    gap_side = (reach - radius) / np.maximum(length, 1e-12)
    caps = np.abs(points[2]) - hz
    on_cap = (caps > gap_side) | ((side * directions).sum(0) >= 0.0)
    up = np.zeros_like(points)
    up[2] = -np.sign(directions[2])
    on_cap &= directions[2] != 0.0
    return np.where(on_cap, up, side)


_INTERVAL: dict[int, Callable] = {BOX: _box, ROOF: _roof, ELLIPSOID: _ellipsoid, FRUSTUM: _frustum}
_NORMAL: dict[int, Callable] = {
    BOX: _box_normal,
    ROOF: _roof_normal,
    ELLIPSOID: _ellipsoid_normal,
    FRUSTUM: _frustum_normal,
}
