// Prefix sums and products over the lanes of a vector, and loads and stores of its first lanes: what kernels need that
// run along a ray's samples.
#pragma once
#include "simd.h"

namespace neural {
namespace NEURAL_ISA {

// 0, 1, 2, ... as lanes.
NEURAL_HD vint lane_indices() {
#if defined(__AVX512F__)
    return vint{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
#elif defined(__AVX2__)
    return vint{0, 1, 2, 3, 4, 5, 6, 7};
#else
    return vint{0, 1, 2, 3};
#endif
}

#if defined(__AVX512F__)
NEURAL_HD __mmask16 first_lanes(i64 count) { return __mmask16(_bzhi_u32(0xffffu, count < 16 ? u32(count) : 16u)); }
#endif

// The first `count` lanes (at least 1, any number); memory behind them is not touched, the other lanes are zero.
NEURAL_HD vfloat load_first(const float* p, i64 count) {
#if defined(__AVX512F__)
    return (vfloat)_mm512_maskz_loadu_ps(first_lanes(count), p);
#elif defined(__AVX2__)
    if (count >= kWidth) return load(p);
    return (vfloat)_mm256_maskload_ps(p, (__m256i)(lane_indices() < i32(count)));
#else
    return count >= kWidth ? load(p) : load(p, int(count));
#endif
}
NEURAL_HD void store_first(float* p, vfloat v, i64 count) {
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(p, first_lanes(count), (__m512)v);
#elif defined(__AVX2__)
    if (count >= kWidth) return store(p, v);
    _mm256_maskstore_ps(p, (__m256i)(lane_indices() < i32(count)), (__m256)v);
#else
    if (count >= kWidth) return store(p, v);
    store(p, v, int(count));
#endif
}

// Lane i takes lane i - K of v; the first K lanes take the last K of `fill`.
template <int K> NEURAL_HD vfloat shift_up(vfloat v, vfloat fill) {
#if defined(__AVX512F__)
    return __builtin_shufflevector(fill, v, 16 - K, 17 - K, 18 - K, 19 - K, 20 - K, 21 - K, 22 - K, 23 - K, 24 - K,
                                   25 - K, 26 - K, 27 - K, 28 - K, 29 - K, 30 - K, 31 - K);
#elif defined(__AVX2__)
    return __builtin_shufflevector(fill, v, 8 - K, 9 - K, 10 - K, 11 - K, 12 - K, 13 - K, 14 - K, 15 - K);
#else
    return __builtin_shufflevector(fill, v, 4 - K, 5 - K, 6 - K, 7 - K);
#endif
}
// Lane i takes lane i + K of v; the last K lanes take the first K of `fill`.
template <int K> NEURAL_HD vfloat shift_down(vfloat v, vfloat fill) {
#if defined(__AVX512F__)
    return __builtin_shufflevector(v, fill, K, K + 1, K + 2, K + 3, K + 4, K + 5, K + 6, K + 7, K + 8, K + 9, K + 10,
                                   K + 11, K + 12, K + 13, K + 14, K + 15);
#elif defined(__AVX2__)
    return __builtin_shufflevector(v, fill, K, K + 1, K + 2, K + 3, K + 4, K + 5, K + 6, K + 7);
#else
    return __builtin_shufflevector(v, fill, K, K + 1, K + 2, K + 3);
#endif
}

// Lane i = sum (product) of lanes 0 .. i.
template <int K = 1> NEURAL_HD vfloat scan_sum(vfloat v) {
    if constexpr (K < kWidth) return scan_sum<2 * K>(v + shift_up<K>(v, splat(0.0f)));
    else return v;
}
template <int K = 1> NEURAL_HD vfloat scan_product(vfloat v) {
    if constexpr (K < kWidth) return scan_product<2 * K>(v * shift_up<K>(v, splat(1.0f)));
    else return v;
}
// Lane i = sum of lanes i .. kWidth-1.
template <int K = 1> NEURAL_HD vfloat scan_sum_down(vfloat v) {
    if constexpr (K < kWidth) return scan_sum_down<2 * K>(v + shift_down<K>(v, splat(0.0f)));
    else return v;
}

// Sum of all lanes by shuffles, in a fixed order.
NEURAL_HD float lane_sum(vfloat v) { return scan_sum_down(v)[0]; }

} // namespace NEURAL_ISA
} // namespace neural
