// A thin vector type: kWidth fp32 lanes of the instruction set that this unit is compiled for.
// Arithmetic is the compiler's (GCC/Clang vector extensions); only gathers, rounding and half conversion use
// intrinsics. A mask is the vint that a comparison gives; `mask ? a : b` selects.
#pragma once
#include "platform.cuh"
#if defined(__x86_64__) || defined(_M_X64)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

namespace neural {
namespace NEURAL_ISA {

#if defined(__AVX512F__)
constexpr int kWidth = 16;
#elif defined(__AVX2__)
constexpr int kWidth = 8;
#else
constexpr int kWidth = 4;
#endif

typedef float vfloat __attribute__((vector_size(4 * kWidth)));
typedef i32 vint __attribute__((vector_size(4 * kWidth)));
typedef u32 vuint __attribute__((vector_size(4 * kWidth)));

NEURAL_HD vfloat splat(float x) { return x - vfloat{}; }
NEURAL_HD vint splat(i32 x) { return x - vint{}; }
NEURAL_HD vuint splat(u32 x) { return x - vuint{}; }

NEURAL_HD vfloat load(const float* p) {
    vfloat v;
    __builtin_memcpy(&v, p, sizeof(v));
    return v;
}
NEURAL_HD void store(float* p, vfloat v) { __builtin_memcpy(p, &v, sizeof(v)); }
// Lanes p[0], p[stride], ...; the first `count` of them, the others are zero.
NEURAL_OUTLINED inline vfloat load_strided(const float* p, i64 stride, int count = kWidth) {
    vfloat v{};
    for (int i = 0; i < count; ++i) v[i] = p[i * stride];
    return v;
}
NEURAL_OUTLINED inline void store_strided(float* p, i64 stride, vfloat v, int count = kWidth) {
    for (int i = 0; i < count; ++i) p[i * stride] = v[i];
}
// The first `count` lanes; the others are zero.
NEURAL_HD vfloat load(const float* p, int count) { return count >= kWidth ? load(p) : load_strided(p, 1, count); }
NEURAL_HD void store(float* p, vfloat v, int count) {
    if (count >= kWidth) store(p, v);
    else store_strided(p, 1, v, count);
}

// Truncates. Beyond the range of i32, and of NaN, it gives a number that depends on the machine (the language leaves
// __builtin_convertvector undefined there, the instructions do not).
NEURAL_HD vint to_int(vfloat v) {
#if defined(__AVX512F__)
    return (vint)_mm512_cvttps_epi32((__m512)v);
#elif defined(__AVX2__)
    return (vint)_mm256_cvttps_epi32((__m256)v);
#elif defined(__SSE2__)
    return (vint)_mm_cvttps_epi32((__m128)v);
#elif defined(__ARM_NEON)
    return (vint)vcvtq_s32_f32((float32x4_t)v);
#else
    return __builtin_convertvector(v, vint);
#endif
}
NEURAL_HD vfloat to_float(vint v) { return __builtin_convertvector(v, vfloat); }
NEURAL_HD vfloat to_float(vuint v) { return __builtin_convertvector((vint)v, vfloat); } // below 2^31
NEURAL_HD vfloat as_float(vint v) { return (vfloat)v; }
NEURAL_HD vint as_int(vfloat v) { return (vint)v; }

NEURAL_HD vfloat floor(vfloat v) {
#if defined(__AVX512F__)
    return (vfloat)_mm512_roundscale_ps((__m512)v, 0x01);
#elif defined(__AVX2__)
    return (vfloat)_mm256_floor_ps((__m256)v);
#else
    const vfloat t = to_float(to_int(v)); // right below 2^31; larger values are whole already
    const vfloat down = t > v ? t - 1.0f : t;
    return (v < 0.0f ? -v : v) < 2147483648.0f ? down : v;
#endif
}
NEURAL_HD vfloat round(vfloat v) { return floor(v + 0.5f); }
NEURAL_HD vfloat abs(vfloat v) { return as_float(as_int(v) & 0x7fffffff); }
// b where one is NaN.
NEURAL_HD vfloat min(vfloat a, vfloat b) {
#if defined(__AVX512F__)
    return (vfloat)_mm512_min_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
    return (vfloat)_mm256_min_ps((__m256)a, (__m256)b);
#else
    return a < b ? a : b;
#endif
}
NEURAL_HD vfloat max(vfloat a, vfloat b) {
#if defined(__AVX512F__)
    return (vfloat)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
    return (vfloat)_mm256_max_ps((__m256)a, (__m256)b);
#else
    return a > b ? a : b;
#endif
}
NEURAL_HD vfloat sqrt(vfloat v) {
#if defined(__AVX512F__)
    return (vfloat)_mm512_sqrt_ps((__m512)v);
#elif defined(__AVX2__)
    return (vfloat)_mm256_sqrt_ps((__m256)v);
#else
    for (int i = 0; i < kWidth; ++i) v[i] = __builtin_sqrtf(v[i]);
    return v;
#endif
}
// Whether a mask has any lane set.
NEURAL_HD bool any(vint mask) {
#if defined(__AVX512F__)
    return _mm512_test_epi32_mask((__m512i)mask, (__m512i)mask) != 0;
#elif defined(__AVX2__)
    return _mm256_movemask_ps((__m256)mask) != 0;
#else
    i32 found = 0;
    for (int i = 0; i < kWidth; ++i) found |= mask[i];
    return found != 0;
#endif
}
// Sum of the lanes in a fixed tree order.
NEURAL_HD float sum(vfloat v) {
    float lanes[kWidth];
    store(lanes, v);
    for (int half = kWidth / 2; half > 0; half /= 2)
        for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
    return lanes[0];
}

// e^x = power (1 + q), |x| < 89: power is a power of two, q Cephes' polynomial of degree 5 on the rest.
NEURAL_HD vfloat exp_rest(vfloat x, vfloat& power) {
    const vfloat n = floor(x * 1.44269504088896341f + 0.5f);
    vfloat r = x - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    vfloat p = splat(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    power = as_float((to_int(n) + 127) << 23);
    return p * r * r + r;
}
// e^v, relative error below 2e-7. Saturates instead of overflowing past 88.37; NaN stays NaN.
NEURAL_HD vfloat exp(vfloat v) {
    vfloat power;
    const vfloat q = exp_rest(v < -87.3f ? splat(-87.3f) : (v > 88.37f ? splat(88.37f) : v), power);
    return (q + 1.0f) * power;
}
// 2^v for v <= 127, relative error below 2e-7; 0 or below 1e-37 for v < -126.
NEURAL_HD vfloat exp2(vfloat v) {
#if defined(__AVX512F__)
    const vfloat r = (vfloat)_mm512_reduce_ps((__m512)v, 0x00); // v less the nearest whole number
#else
    v = v < -126.0f ? splat(-126.0f) : v;
    const vfloat n = round(v), r = v - n;
#endif
    vfloat p = splat(1.3276471874e-3f); // least greatest error on [-1/2, 1/2] at degree 5: 7.5e-8
    p = p * r + 9.6755413335e-3f;
    p = p * r + 5.5507132739e-2f;
    p = p * r + 2.4022119724e-1f;
    p = p * r + 6.9314696706e-1f;
    p = p * r + 1.0000000717f;
#if defined(__AVX512F__)
    return (vfloat)_mm512_scalef_ps((__m512)p, _mm512_roundscale_ps((__m512)v, 0x00));
#else
    return p * as_float((to_int(n) + 127) << 23);
#endif
}
// e^v - 1 without cancellation near 0, relative error below 3e-7; saturates at both ends, NaN stays NaN.
NEURAL_HD vfloat expm1(vfloat v) {
    vfloat power;
    const vfloat q = exp_rest(v < -87.3f ? splat(-87.3f) : (v > 88.0f ? splat(88.0f) : v), power);
    return power * q + (power - 1.0f);
}
// ln(v) for v > 0, relative error below 2e-7 (Cephes' logf).
NEURAL_HD vfloat log(vfloat v) {
    vint bits = as_int(v);
    vfloat e = to_float(((bits >> 23) & 0xff) - 126);
    vfloat m = as_float((bits & 0x007fffff) | 0x3f000000);
    const vint low = m < 0.707106781186547524f;
    e = low ? e - 1.0f : e;
    m = low ? m + m - 1.0f : m - 1.0f;
    vfloat p = splat(7.0376836292e-2f);
    p = p * m - 1.1514610310e-1f;
    p = p * m + 1.1676998740e-1f;
    p = p * m - 1.2420140846e-1f;
    p = p * m + 1.4249322787e-1f;
    p = p * m - 1.6668057665e-1f;
    p = p * m + 2.0000714765e-1f;
    p = p * m - 2.4999993993e-1f;
    p = p * m + 3.3333331174e-1f;
    const vfloat z = m * m;
    return m + (p * m * z - 0.5f * z - e * 2.12194440e-4f) + e * 0.693359375f;
}
// sin and cos of r + n quarter turns, |r| <= pi/4, n whole (Cephes' polynomials).
NEURAL_HD void sincos_reduced(vfloat r, vfloat n, vfloat& s, vfloat& c) {
    const vint k = to_int(n - 4.0f * floor(n * 0.25f));
    const vfloat z = r * r;
    const vfloat sr = r + r * z * (-1.6666654611e-1f + z * (8.3321608736e-3f + z * -1.9515295891e-4f));
    const vfloat cr = 1.0f - 0.5f * z +
                      z * z * (4.166664568298827e-2f + z * (-1.388731625493765e-3f + z * 2.443315711809948e-5f));
    const vint swap = (k & 1) != 0;
    const vfloat ss = swap ? cr : sr;
    const vfloat cc = swap ? sr : cr;
    s = (k & 2) != 0 ? -ss : ss;
    c = ((k + 1) & 2) != 0 ? -cc : cc;
}
// sin and cos of pi*t, reduced exactly (t's fraction is exact in fp32), absolute error below 2e-7.
NEURAL_HD void sincos_pi(vfloat t, vfloat& s, vfloat& c) {
    const vfloat n = floor(t * 2.0f + 0.5f); // quarter turns
    sincos_reduced((t - n * 0.5f) * 3.14159265358979324f, n, s, c);
}
// sin and cos of v in radians, |v| < 8192 for full accuracy (Cody-Waite reduction in three parts).
NEURAL_HD void sincos(vfloat v, vfloat& s, vfloat& c) {
    const vfloat n = floor(v * 0.636619772367581343f + 0.5f);
    sincos_reduced(((v - n * 1.5703125f) - n * 4.837512969970703125e-4f) - n * 7.54978995489188216e-8f, n, s, c);
}

} // namespace NEURAL_ISA
} // namespace neural
