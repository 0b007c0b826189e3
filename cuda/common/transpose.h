// kWidth vectors turned about their diagonal, and the sums of several vectors' lanes gathered in one vector.
#pragma once
#include "simd.h"

namespace neural {
namespace NEURAL_ISA {

// One step of both, over lanes that differ in bit H: near keeps a's lanes without that bit and b's of the same place
// beside them, far the others.
#define NEURAL_NEAR(j) ((j) & H ? kWidth + ((j) ^ H) : (j))
#define NEURAL_FAR(j) ((j) & H ? kWidth + (j) : (j) ^ H)
#if defined(__AVX512F__)
#define NEURAL_SHUFFLE(a, b, f)                                                                                    \
    __builtin_shufflevector(a, b, f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7), f(8), f(9), f(10), f(11), f(12), \
                            f(13), f(14), f(15))
#elif defined(__AVX2__)
#define NEURAL_SHUFFLE(a, b, f) __builtin_shufflevector(a, b, f(0), f(1), f(2), f(3), f(4), f(5), f(6), f(7))
#else
#define NEURAL_SHUFFLE(a, b, f) __builtin_shufflevector(a, b, f(0), f(1), f(2), f(3))
#endif
template <int H> NEURAL_HD vfloat near_lanes(vfloat a, vfloat b) { return NEURAL_SHUFFLE(a, b, NEURAL_NEAR); }
template <int H> NEURAL_HD vfloat far_lanes(vfloat a, vfloat b) { return NEURAL_SHUFFLE(a, b, NEURAL_FAR); }
#undef NEURAL_NEAR
#undef NEURAL_FAR
#undef NEURAL_SHUFFLE

// v[i] takes lane i of every vector.
template <int H = kWidth / 2> NEURAL_HD void transpose(vfloat (&v)[kWidth]) {
    NEURAL_UNROLL for (int i = 0; i < kWidth; ++i) {
        if (i & H) continue;
        const vfloat a = v[i], b = v[i | H];
        v[i] = near_lanes<H>(a, b);
        v[i | H] = far_lanes<H>(a, b);
    }
    if constexpr (H > 1) transpose<H / 2>(v);
}

// Place of quantity i among the lanes that lane_sums leaves: its bits in reverse.
constexpr int sum_lane(int i) {
    int lane = 0;
    for (int bit = 1; bit < kWidth; bit *= 2) lane = 2 * lane + ((i & bit) != 0);
    return lane;
}
// Lane sum_lane(i) of v[0] becomes the sum of v[i]'s lanes; N <= kWidth, lanes of no quantity hold anything. The order
// of addition is fixed.
template <int N, int H = kWidth / 2> NEURAL_HD void lane_sums(vfloat* v) {
    NEURAL_UNROLL for (int i = 0; i < N; i += 2) {
        const vfloat a = v[i], b = i + 1 < N ? v[i + 1] : v[i];
        v[i / 2] = near_lanes<H>(a, b) + far_lanes<H>(a, b);
    }
    if constexpr (H > 1) lane_sums<(N + 1) / 2, H / 2>(v);
}

} // namespace NEURAL_ISA
} // namespace neural
