// Table reads by lane: entries of F features, fp32, fp16 or bf16, whose indices lie in memory, best for some time: see
// vertices.h.
#pragma once
#include "simd.h"

namespace neural {
namespace NEURAL_ISA {

typedef double pair64 __attribute__((may_alias, aligned(4))); // two floats, read as one

NEURAL_HD float half_to_float(u16 h) {
#if defined(__F16C__)
    return _cvtsh_ss(h);
#else
    const u32 sign = u32(h & 0x8000) << 16;
    const u32 rest = h & 0x7fff;
    u32 bits;
    if (rest >= 0x7c00) bits = 0x7f800000u | ((rest & 0x3ff) << 13); // Inf, NaN
    else bits = rest << 13;
    float f;
    if (rest < 0x7c00) { // scale by 2^112 mends exponent and subnormals alike
        __builtin_memcpy(&f, &bits, 4);
        f *= 5.192296858534828e33f;
        __builtin_memcpy(&bits, &f, 4);
    }
    bits |= sign;
    __builtin_memcpy(&f, &bits, 4);
    return f;
#endif
}

// (a, b)[lane] = the pair at base + Step * index[lane]: one 64-bit load a lane, then even and odd parts. Plain loads were
// measured against the gather instruction: equal in L2, 8-15 % faster beyond it (Zen 4, tables of 0.25 to 8 MB).
template <int Step> NEURAL_HD void gather_pairs(const float* base, const u32* index, vfloat& a, vfloat& b) {
#if defined(__AVX512F__)
    const auto at = [&](int i) { return (const pair64*)(base + Step * u64(index[i])); };
    __m128d q[8];
    for (int k = 0; k < 8; ++k) q[k] = _mm_loadh_pd(_mm_set_sd(*at(2 * k)), (const double*)at(2 * k + 1));
    const __m256d r0 = _mm256_insertf128_pd(_mm256_castpd128_pd256(q[0]), q[1], 1);
    const __m256d r1 = _mm256_insertf128_pd(_mm256_castpd128_pd256(q[2]), q[3], 1);
    const __m256d r2 = _mm256_insertf128_pd(_mm256_castpd128_pd256(q[4]), q[5], 1);
    const __m256d r3 = _mm256_insertf128_pd(_mm256_castpd128_pd256(q[6]), q[7], 1);
    const __m512 lo = _mm512_castpd_ps(_mm512_insertf64x4(_mm512_castpd256_pd512(r0), r1, 1));
    const __m512 hi = _mm512_castpd_ps(_mm512_insertf64x4(_mm512_castpd256_pd512(r2), r3, 1));
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    a = (vfloat)_mm512_permutex2var_ps(lo, even, hi);
    b = (vfloat)_mm512_permutex2var_ps(lo, odd, hi);
#elif defined(__AVX2__)
    const auto at = [&](int i) { return *(const pair64*)(base + Step * u64(index[i])); };
    // lanes 0 1 4 5 and 2 3 6 7: the in-lane shuffle below then comes out sorted
    const __m256 lo = _mm256_castpd_ps(_mm256_setr_pd(at(0), at(1), at(4), at(5)));
    const __m256 hi = _mm256_castpd_ps(_mm256_setr_pd(at(2), at(3), at(6), at(7)));
    a = (vfloat)_mm256_shuffle_ps(lo, hi, 0x88);
    b = (vfloat)_mm256_shuffle_ps(lo, hi, 0xdd);
#else
    for (int i = 0; i < kWidth; ++i) {
        a[i] = base[Step * u64(index[i])];
        b[i] = base[Step * u64(index[i]) + 1];
    }
#endif
}

// The 16-bit formats: 1 fp16, 2 bf16 (the numbering of table_dtype).
NEURAL_HD float narrow_to_float(u16 bits, int dtype) {
    if (dtype == 1) return half_to_float(bits);
    const u32 wide = u32(bits) << 16;
    float f;
    __builtin_memcpy(&f, &wide, 4);
    return f;
}
template <int Step>
NEURAL_HD void gather_narrow_pairs(const u16* base, int dtype, const u32* index, vfloat& a, vfloat& b) {
    vuint both;
    for (int i = 0; i < kWidth; ++i) {
        u32 word;
        __builtin_memcpy(&word, base + Step * u64(index[i]), 4);
        both[i] = word;
    }
    if (dtype == 2) {
        a = (vfloat)(both << 16);
        b = (vfloat)(both & 0xffff0000u);
        return;
    }
#if defined(__AVX512F__)
    a = (vfloat)_mm512_cvtph_ps(_mm512_cvtepi32_epi16((__m512i)both));
    b = (vfloat)_mm512_cvtph_ps(_mm512_cvtepi32_epi16((__m512i)(both >> 16)));
#else
    for (int i = 0; i < kWidth; ++i) {
        a[i] = half_to_float(u16(both[i]));
        b[i] = half_to_float(u16(both[i] >> 16));
    }
#endif
}

// out[f][lane] = feature f of entry index[lane]; dtype 0 fp32, 1 fp16, 2 bf16.
template <int F> NEURAL_HD void gather_entries(const void* base, int dtype, const u32* index, vfloat* out) {
    if constexpr (F == 1) {
        for (int i = 0; i < kWidth; ++i)
            out[0][i] = dtype == 0 ? ((const float*)base)[index[i]] : narrow_to_float(((const u16*)base)[index[i]], dtype);
    } else {
        for (int j = 0; j < F; j += 2) {
            if (dtype == 0) gather_pairs<F>((const float*)base + j, index, out[j], out[j + 1]);
            else gather_narrow_pairs<F>((const u16*)base + j, dtype, index, out[j], out[j + 1]);
        }
    }
}

// (a[0], b[0], a[1], b[1], ...)
NEURAL_HD void interleave_pairs(vfloat a, vfloat b, float* both) {
#if defined(__AVX512F__)
    const __m512i first = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const __m512i second = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    _mm512_store_ps(both, _mm512_permutex2var_ps((__m512)a, first, (__m512)b));
    _mm512_store_ps(both + 16, _mm512_permutex2var_ps((__m512)a, second, (__m512)b));
#elif defined(__AVX2__)
    const __m256 lo = _mm256_unpacklo_ps((__m256)a, (__m256)b), hi = _mm256_unpackhi_ps((__m256)a, (__m256)b);
    _mm256_store_ps(both, _mm256_permute2f128_ps(lo, hi, 0x20));
    _mm256_store_ps(both + 8, _mm256_permute2f128_ps(lo, hi, 0x31));
#else
    for (int i = 0; i < kWidth; ++i) {
        both[2 * i] = a[i];
        both[2 * i + 1] = b[i];
    }
#endif
}

} // namespace NEURAL_ISA
} // namespace neural
