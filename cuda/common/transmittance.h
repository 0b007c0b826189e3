// The walk along a ray's packed samples that compositing and visibility share on the CPU: optical depth to opacity,
// and the running product of what passes, one vector of samples at a time.
#pragma once
#include "../composite.cuh"
#include "scan.h"

namespace neural {
namespace NEURAL_ISA {

struct Samples { // S packed samples; each array fp32 [S]
    const float *densities, *t_starts, *t_ends;
};

// Calls visit(i, count, alpha, before, after, kept) for the samples start+i .. start+i+count-1 of one ray, in order:
// opacity, transmittance in front of and behind the sample, and whether it is in front of the stop
// (before >= early_stop). Lanes past `count` have alpha = 0. Ends after the vector in which the ray stopped; a NaN
// density stops it too. Returns how many samples were visited. `light` gets through to the first of them.
template <class Visit>
NEURAL_HD i64 walk(const Samples& samples, i64 start, i64 total, float early_stop, const Visit& visit,
                   float light = 1.0f) {
    vfloat passed = splat(light); // in front of lane 0
    for (i64 i = 0; i < total; i += kWidth) {
        const i64 at = start + i, count = total - i < kWidth ? total - i : kWidth;
        const vfloat length = load_first(samples.t_ends + at, count) - load_first(samples.t_starts + at, count);
        const vfloat alpha = composite::opacity(load_first(samples.densities + at, count), length,
                                                [](vfloat v) { return expm1(v); });
        const vfloat after = passed * scan_product(1.0f - alpha);
        const vfloat before = shift_up<1>(after, passed);
        visit(i, count, alpha, before, after, before >= early_stop);
        const float last = after[kWidth - 1];
        if (!(last >= early_stop)) return i + count;
        passed = splat(last);
    }
    return total;
}

} // namespace NEURAL_ISA
} // namespace neural
