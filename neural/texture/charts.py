"""A surface cut into charts: patches of triangles that all look one way, so that one projection shows them.

Nothing is asked of the surface. A chart never reaches across an edge of more than two triangles, or of two that turn
against each other, so sheets that touch or cross become charts of their own. Every triangle is in exactly one.

Source: Sander, Snyder, Gortler and Hoppe 2001, "Texture mapping progressive meshes", section 3.1 (charts grown by how
flat they stay); the running direction and the cuts are ours.
"""

from heapq import heappop, heappush

import numpy as np
from jaxtyping import Float64, Int64

LEAST_COSINE = 0.35  # between a triangle and its chart's direction while the chart grows: stretched by 3 at most
STEEPEST = 0.15  # and of what is left over between charts, rather than many charts of one triangle
_ROUNDS = 4  # of averaging over neighbours, which decides what is flat; noise of triangles does not
_SMALL = 16  # triangles of a chart that another may take in


def face_normals(
    vertices: Float64[np.ndarray, "V 3"], faces: Int64[np.ndarray, "F 3"]
) -> tuple[Float64[np.ndarray, "F 3"], Float64[np.ndarray, "F"]]:
    """Of length 1 (0 where there is no area), and areas."""
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    across = np.cross(b - a, c - a)
    length = np.linalg.norm(across, axis=1)
    return across / np.where(length > 0, length, 1)[:, None], length / 2


def neighbours(faces: Int64[np.ndarray, "F 3"]) -> Int64[np.ndarray, "F 3"]:
    """The triangle on the other side of each edge (corner i to corner i + 1), -1 where there is not exactly one."""
    start, end = faces.reshape(-1), np.roll(faces, -1, axis=1).reshape(-1)
    low, high = np.minimum(start, end), np.maximum(start, end)
    order = np.lexsort((high, low))
    low, high, forward = low[order], high[order], (start < end)[order]
    first = np.flatnonzero(np.r_[True, (low[1:] != low[:-1]) | (high[1:] != high[:-1])])
    first = first[np.diff(np.r_[first, len(low)]) == 2]
    first = first[forward[first] != forward[first + 1]]
    beside = np.full(len(start), -1)
    beside[order[first]], beside[order[first + 1]] = order[first + 1] // 3, order[first] // 3
    return beside.reshape(-1, 3)


def charts(
    vertices: Float64[np.ndarray, "V 3"], faces: Int64[np.ndarray, "F 3"]
) -> tuple[Int64[np.ndarray, "F"], Float64[np.ndarray, "C 3"], Int64[np.ndarray, "F"]]:
    """The chart of each triangle, the direction from which each chart is seen, and when each triangle came to it.

    Args:
        vertices: Corners.
        faces: Triangles with an area.
    """
    normals, areas = face_normals(vertices, faces)
    beside = neighbours(faces)
    label, order = _grown(normals, areas, _smoothed(normals, areas, beside), beside)
    label = _joined(label, normals, areas, beside)
    while True:  # a direction turns from some of its triangles while it settles
        directions = _directions(label, normals, areas)
        behind = (normals * directions[label]).sum(1) < STEEPEST / 2
        if not behind.any():
            return label, directions, order
        label[behind] = label.max() + 1 + np.arange(behind.sum())
        _, label = np.unique(label, return_inverse=True)


def pieces(label: Int64[np.ndarray, "F"], beside: Int64[np.ndarray, "F 3"]) -> Int64[np.ndarray, "F"]:
    """Numbers the connected parts of equal labels from 0."""
    same = (beside >= 0) & (label[beside] == label[:, None])
    root = np.arange(len(label))
    while True:
        least = np.minimum(root, np.where(same, root[beside], len(root)).min(1))
        least = least[least]
        if (least == root).all():
            return np.unique(root, return_inverse=True)[1]
        np.minimum.at(least, root, least.copy())  # the root of each learns of it too
        root = least[least]


def _smoothed(
    normals: Float64[np.ndarray, "F 3"], areas: Float64[np.ndarray, "F"], beside: Int64[np.ndarray, "F 3"]
) -> Float64[np.ndarray, "F 3"]:
    weight = np.where(beside >= 0, areas[beside], 0)
    smooth = normals
    for _ in range(_ROUNDS):
        smooth = smooth * areas[:, None] + np.einsum("fk,fkc->fc", weight, smooth[beside])
        smooth = smooth / np.maximum(np.linalg.norm(smooth, axis=1, keepdims=True), 1e-300)
    return smooth


def _directions(
    label: Int64[np.ndarray, "F"], normals: Float64[np.ndarray, "F 3"], areas: Float64[np.ndarray, "F"]
) -> Float64[np.ndarray, "C 3"]:
    total = np.stack([np.bincount(label, areas * normals[:, i]) for i in range(3)], axis=1)
    return total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-300)


def _grown(
    normals: Float64[np.ndarray, "F 3"], areas: Float64[np.ndarray, "F"], smooth: Float64[np.ndarray, "F 3"],
    beside: Int64[np.ndarray, "F 3"],
) -> tuple[Int64[np.ndarray, "F"], Int64[np.ndarray, "F"]]:  # fmt: skip
    """From the largest triangle that is left to the flattest neighbours first, until nothing near looks that way."""
    label, order, n_faces = [-1] * len(normals), [0] * len(normals), 0
    normal, flat, near, area = normals.tolist(), smooth.tolist(), beside.tolist(), areas.tolist()
    n_charts = 0
    for seed in np.argsort(-areas, kind="stable").tolist():
        if label[seed] >= 0:
            continue
        x, y, z = flat[seed]
        a, b, c = normal[seed]
        if a * x + b * y + c * z < LEAST_COSINE:
            x, y, z = a, b, c
        sum_x = sum_y = sum_z = 0.0
        count, turn = 0, 8
        heap = [(0.0, seed)]
        while heap:
            face = heappop(heap)[1]
            if label[face] >= 0:
                continue
            a, b, c = normal[face]
            if a * x + b * y + c * z < LEAST_COSINE:
                continue
            label[face], order[face], n_faces = n_charts, n_faces, n_faces + 1
            size = area[face]
            sum_x, sum_y, sum_z, count = sum_x + size * a, sum_y + size * b, sum_z + size * c, count + 1
            if count == turn:  # towards the mean of what it has
                length = (sum_x * sum_x + sum_y * sum_y + sum_z * sum_z) ** 0.5
                x, y, z, turn = sum_x / length, sum_y / length, sum_z / length, 2 * turn
            for other in near[face]:
                if other >= 0 and label[other] < 0:
                    a, b, c = flat[other]
                    heappush(heap, (-(a * x + b * y + c * z), other))
        n_charts += 1
    return np.array(label), np.array(order)


def _joined(
    label: Int64[np.ndarray, "F"], normals: Float64[np.ndarray, "F 3"], areas: Float64[np.ndarray, "F"],
    beside: Int64[np.ndarray, "F 3"],
) -> Int64[np.ndarray, "F"]:  # fmt: skip
    """Small charts go to the neighbour that sees all of them best, the smallest first; two rounds."""
    for _ in range(2):
        directions = _directions(label, normals, areas)
        counts = np.bincount(label)
        face, side = np.nonzero((beside >= 0) & (counts[label] <= _SMALL)[:, None])
        here, there = label[face], label[beside[face, side]]
        pairs = np.unique(np.stack([here, there], axis=1)[counts[there] > counts[here]], axis=0)
        if not len(pairs):
            break
        order = np.argsort(label, kind="stable")
        start = np.searchsorted(label[order], np.arange(len(counts)))
        best = np.full(len(counts), STEEPEST)
        into = np.arange(len(counts))
        for small, large in pairs.tolist():
            members = order[start[small] : start[small] + counts[small]]
            worst = (normals[members] @ directions[large]).min()
            if worst > best[small]:
                best[small], into[small] = worst, large
        into = np.where(into[into] == into, into, np.arange(len(into)))  # not into one that goes elsewhere itself
        _, label = np.unique(into[label], return_inverse=True)
    return label
