// Marching a ray through a cascaded occupancy grid: which points of a fixed lattice of depths lie in occupied voxels.
//
// Lattice: depth(x) is a bijection of index and distance; its slope is the step. With rate = ln(1 + cone),
//   depth(x) = step x                              below n1 = 1 / rate            (constant step)
//              t1 exp(rate (x - n1))               between, t1 = step / rate      (step = cone angle x distance)
//              t2 + max_step (x - n2)              above n2 = n1 + ln(max_step / step) / rate.
// Sample k of a ray with jitter u spans depth(k+u) .. depth(k+u+1). It exists where its midpoint is in [t_min, t_max)
// and in an occupied voxel: a set that does not depend on where the march starts.
// Grid: in coordinates with the centre at 0 and the side of cascade 0 as unit, cascade L is the cube of side 2^L. A
// point is looked up in the finest cascade that holds it and whose voxels are no shorter than the step there.
// March: each visit tests one point, finds the largest block (4^3, 2^3 or 1 voxel, aligned) around it that is all empty
// or all occupied, and claims every lattice point up to the block's exit at once. Exits are pulled in by a bound of the
// rounding errors, so a claim never covers a point that its own test would place elsewhere: the march visits a few
// points twice as often as needed and equals the test of every point, bit for bit.
// The idea of the analytic lattice is that of instant-ngp (Mueller et al. 2022, arXiv:2201.05989, appendix E).
//
// M is the machine: its Float and Int are scalars on a GPU and lanes on a CPU; its `block` looks the grid up.
#pragma once
#include "common/morton.cuh"

namespace neural {
namespace march {

constexpr float kMaxIndex = 8388608.0f; // 2^23: beyond it k + u is no longer a lattice in fp32; rays end there

enum { // order of the settings buffer, written by ray_march.py
    kCentreX, kCentreY, kCentreZ, kInvSide, kStep, kInvStep, kMaxStep, kInvMaxStep, kRate, kInvRate,
    kT1, kN1, kT2, kN2, kReach, kInvReach, kMostVoxels, kLowestLevel, kSettings
};

struct Grid {
    const float* settings;
    int n_cascades, resolution;
};

template <class M> struct Ray {
    using Float = typename M::Float;
    Float origin[3], direction[3]; // grid coordinates
    Float inverse[3], inward[3];   // 1 / direction; origin moved along the ray's signs by the rounding bound
    Float jitter, t_min, t_end;
};

template <class M, bool Cone> NEURAL_HD typename M::Float depth(const float* s, typename M::Float x) {
    if constexpr (!Cone) {
        return M::product(x, s[kStep]);
    } else {
        const auto near = M::product(x, s[kStep]);
        const auto middle = M::product(M::exp(M::product(x - s[kN1], s[kRate])), s[kT1]);
        const auto far = M::product(x - s[kN2], s[kMaxStep]) + s[kT2];
        return x < s[kN1] ? near : (x < s[kN2] ? middle : far);
    }
}

// The inverse of depth, for t >= 0.
template <class M, bool Cone> NEURAL_HD typename M::Float index(const float* s, typename M::Float t) {
    const typename M::Float near = t * s[kInvStep];
    if constexpr (!Cone) {
        return near;
    } else {
        const typename M::Float middle = M::log((t < s[kT1] ? M::splat(s[kT1]) : t) * (s[kRate] * s[kInvStep])) * s[kInvRate] + s[kN1];
        const typename M::Float far = (t - s[kT2]) * s[kInvMaxStep] + s[kN2];
        return t < s[kT1] ? near : (t < s[kT2] ? middle : far);
    }
}

// A lattice index at or before the first whose midpoint is at t or later: short of it by the rounding of `index` and by
// the midpoint's distance from depth(k + u + 1/2), which is below rate / 4 steps.
template <class M, bool Cone>
NEURAL_HD typename M::Float first_at(const float* s, typename M::Float jitter, typename M::Float t) {
    typename M::Float x = index<M, Cone>(s, t);
    x = x - (x * 2e-6f + (1e-3f + 0.25f * s[kRate])) - jitter + 0.5f; // ceil(x - u - 1/2) = floor(x - u + 1/2)
    x = x > 0.0f ? x : M::splat(0.0f);                               // also NaN
    x = x < kMaxIndex ? x : M::splat(kMaxIndex);
    return M::to_float(M::to_int(x));
}

// Takes the ray to grid coordinates, clips it to the outermost cascade and gives its first index; a ray that misses, or
// holds a NaN, an infinity or no direction, gets t_end = -1 and ends at once.
template <class M, bool Cone>
NEURAL_HD typename M::Float enter(const Grid& grid, const typename M::Float (&o)[3], const typename M::Float (&d)[3],
                                  typename M::Float jitter, typename M::Float t_min, typename M::Float t_max,
                                  Ray<M>& ray) {
    using Float = typename M::Float;
    const float* s = grid.settings;
    const float half = 0.5f * float(1 << (grid.n_cascades - 1));
    Float reach = M::splat(0.0f), length = M::splat(0.0f);
    for (int i = 0; i < 3; ++i) {
        ray.origin[i] = M::product(o[i] - s[kCentreX + i], s[kInvSide]);
        ray.direction[i] = M::product(d[i], s[kInvSide]);
        const Float size = ray.origin[i] < 0.0f ? -ray.origin[i] : ray.origin[i];
        reach = size > reach ? size : reach;
        length = length + M::product(d[i], d[i]);
    }
    const Float rounding = (reach + 2.0f * half) * 9.5367431640625e-7f; // 2^-20: 16 roundings of the largest term
    Float entry = t_min > 0.0f ? t_min : M::splat(0.0f), exit = t_max;
    for (int i = 0; i < 3; ++i) {
        const Float v = ray.direction[i];
        const auto backward = v < 0.0f, still = v == 0.0f;
        ray.inverse[i] = still ? M::splat(1e30f) : 1.0f / v;
        ray.inward[i] = still ? ray.origin[i] : (backward ? ray.origin[i] - rounding : ray.origin[i] + rounding);
        const Float low = (-half - rounding - ray.origin[i]) * ray.inverse[i];
        const Float high = (half + rounding - ray.origin[i]) * ray.inverse[i];
        const Float first = backward ? high : low, last = backward ? low : high;
        entry = first > entry ? first : entry;
        exit = last < exit ? last : exit;
    }
    // Sums with a NaN or an infinity do not compare below the largest number.
    Float checked = length + jitter;
    for (int i = 0; i < 3; ++i) {
        const Float size = o[i] < 0.0f ? -o[i] : o[i];
        checked = checked + size;
    }
    exit = checked < 3e38f ? exit : M::splat(-1.0f);
    exit = length > 1e-12f ? exit : M::splat(-1.0f);
    exit = t_min < t_max ? exit : M::splat(-1.0f);
    ray.jitter = jitter;
    ray.t_min = t_min;
    ray.t_end = exit;
    return first_at<M, Cone>(s, jitter, entry);
}

// One visit at lattice index k: `filled` where the indices [k, next) are samples. Returns the mask of rays that go on;
// the others have neither samples nor a next index.
template <class M, bool Cone>
NEURAL_HD auto visit(const Grid& grid, const M& machine, const Ray<M>& ray, typename M::Float k, typename M::Float& next,
                     typename M::Int& filled) {
    using Float = typename M::Float;
    using Int = typename M::Int;
    const float* s = grid.settings;
    const float resolution = float(grid.resolution);
    const Float x = k + ray.jitter;
    const Float mid = (depth<M, Cone>(s, x) + depth<M, Cone>(s, x + 1.0f)) * 0.5f;

    // The cascade: |p| in [2^(L-2), 2^(L-1)) is in cascade L; and so is a step in (2^(L-1), 2^L] voxels.
    Float p[3], largest = M::splat(0.0f);
    for (int i = 0; i < 3; ++i) {
        p[i] = ray.origin[i] + M::product(mid, ray.direction[i]);
        const Float size = p[i] < 0.0f ? -p[i] : p[i];
        largest = size > largest ? size : largest;
    }
    const Int lowest = M::splat_int(int(s[kLowestLevel])), top = M::splat_int(grid.n_cascades - 1), none = lowest - lowest;
    Int level = (M::as_int(largest) >> 23) - 125;
    const Int inside = level > top ? none : none + 1;
    level = level > lowest ? level : lowest;
    Float until = ray.t_end;
    if constexpr (Cone) {
        Float voxels = M::product(mid, s[kReach]); // cone x distance, in voxels of cascade 0
        voxels = voxels < s[kMostVoxels] ? voxels : M::splat(s[kMostVoxels]);
        const Int by_step = ((M::as_int(voxels) - 1) >> 23) - 126;
        level = level > by_step ? level : by_step;
    }
    level = level < top ? level : top;
    const Float side = M::as_float((level + 127) << 23), inverse_side = M::as_float((127 - level) << 23);
    if constexpr (Cone) {
        const Float change = side * s[kInvReach]; // where the step outgrows these voxels
        until = change > mid ? (change < until ? change : until) : until;
    }

    Int cell[3];
    for (int i = 0; i < 3; ++i) {
        Float q = M::product(M::product(p[i], inverse_side) + 0.5f, resolution);
        q = q > 0.0f ? q : M::splat(0.0f);
        q = q < resolution - 1.0f ? q : M::splat(resolution - 1.0f);
        cell[i] = M::to_int(q);
    }
    Int size, occupied;
    machine.block(grid, level, cell, size, occupied);

    // Where the ray leaves the block.
    for (int i = 0; i < 3; ++i) {
        const Int low = cell[i] & -size;
        const Int face = ray.direction[i] < 0.0f ? low : low + size;
        const Float t = ((M::to_float(face) * (1.0f / resolution) - 0.5f) * side - ray.inward[i]) * ray.inverse[i];
        until = t < until ? t : until;
    }
    const Float after = k + 1.0f;
    Float claimed = first_at<M, Cone>(s, ray.jitter, until);
    // A point on the face of the next finer cascade may round into a cell inside it, which says nothing about the rest.
    const Float edge = largest - 0.25f * side;
    claimed = edge < 0.0f ? claimed : (edge > 2.5e-7f * side ? claimed : after);
    const Int counts = mid < ray.t_min ? none : inside; // others are stepped over one by one, as empty
    next = counts != 0 ? (claimed > after ? claimed : after) : after;
    filled = counts != 0 ? occupied : none;
    return (k < kMaxIndex ? mid : M::splat(3e38f)) < ray.t_end;
}

} // namespace march
} // namespace neural
