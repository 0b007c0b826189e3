// Prefix sums and products over the lanes of a vector, loads and stores of its first lanes, and exp(v) - 1:
// what kernels need that run along a ray's samples.
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

// The first `count` lanes (at least 1, any number); memory behind them is not touched, the other lanes are zero.
NEURAL_HD vfloat load_first(const float* p, i64 count) {
    if (count >= kWidth) return load(p);
#if defined(__AVX512F__)
    return (vfloat)_mm512_maskz_loadu_ps(__mmask16((1u << count) - 1), p);
#elif defined(__AVX2__)
    return (vfloat)_mm256_maskload_ps(p, (__m256i)(lane_indices() < i32(count)));
#else
    return load(p, int(count));
#endif
}
NEURAL_HD void store_first(float* p, vfloat v, i64 count) {
    if (count >= kWidth) return store(p, v);
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(p, __mmask16((1u << count) - 1), (__m512)v);
#elif defined(__AVX2__)
    _mm256_maskstore_ps(p, (__m256i)(lane_indices() < i32(count)), (__m256)v);
#else
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

// e^v - 1 without cancellation near 0, relative error below 3e-7; saturates at both ends, NaN stays NaN.
NEURAL_HD vfloat expm1(vfloat v) {
    const vfloat x = v < -87.3f ? splat(-87.3f) : (v > 88.0f ? splat(88.0f) : v);
    const vfloat n = floor(x * 1.44269504088896341f + 0.5f);
    vfloat r = x - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    vfloat p = splat(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    const vfloat q = p * r * r + r; // e^r - 1
    const vfloat power = as_float((to_int(n) + 127) << 23);
    return power * q + (power - 1.0f);
}

} // namespace NEURAL_ISA
} // namespace neural
