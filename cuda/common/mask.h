// Masks of lanes as the machine has them: a register of bits under AVX-512, a vector of -1 and 0 elsewhere.
// For kernels that combine several conditions, where the compiler would turn each into a vector and back.
#pragma once
#include "scan.h"

namespace neural {
namespace NEURAL_ISA {

#if defined(__AVX512F__)
typedef __mmask16 vmask;
NEURAL_HD vmask above(vfloat a, vfloat b) { return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GT_OQ); }
NEURAL_HD vmask at_least(vfloat a, vfloat b) { return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GE_OQ); }
NEURAL_HD vfloat select(vmask m, vfloat a, vfloat b) { return (vfloat)_mm512_mask_blend_ps(m, (__m512)b, (__m512)a); }
NEURAL_HD vfloat or_zero(vmask m, vfloat a) { return (vfloat)_mm512_maskz_mov_ps(m, (__m512)a); }
NEURAL_HD vmask both(vmask a, vmask b) { return vmask(a & b); }
NEURAL_HD vmask without(vmask a, vmask b) { return vmask(a & ~b); }
NEURAL_HD u32 bits(vmask m) { return m; } // bit i is lane i
#else
typedef vint vmask;
NEURAL_HD vmask above(vfloat a, vfloat b) { return a > b; }
NEURAL_HD vmask at_least(vfloat a, vfloat b) { return a >= b; }
NEURAL_HD vfloat select(vmask m, vfloat a, vfloat b) { return m ? a : b; }
NEURAL_HD vfloat or_zero(vmask m, vfloat a) { return as_float(m & as_int(a)); }
NEURAL_HD vmask both(vmask a, vmask b) { return a & b; }
NEURAL_HD vmask without(vmask a, vmask b) { return a & ~b; }
NEURAL_HD u32 bits(vmask m) {
#if defined(__AVX2__)
    return u32(_mm256_movemask_ps((__m256)m));
#elif defined(__SSE2__)
    return u32(_mm_movemask_ps((__m128)m));
#else
    u32 found = 0;
    for (int i = 0; i < kWidth; ++i) found |= (m[i] ? 1u : 0u) << i;
    return found;
#endif
}
#endif

// Writes first + i for each bit i of `lanes`, in order; returns how many. list must have room for kWidth.
NEURAL_HD int append_lanes(u32 lanes, i32 first, i32* list) {
#if defined(__AVX512F__)
    const __m512i found = _mm512_maskz_compress_epi32(__mmask16(lanes), (__m512i)(lane_indices() + first));
    _mm512_storeu_si512(list, found);
    return __builtin_popcount(lanes);
#else
    int n = 0;
    for (int i = 0; i < kWidth; ++i) {
        list[n] = first + i;
        n += int(lanes >> i & 1u);
    }
    return n;
#endif
}

} // namespace NEURAL_ISA
} // namespace neural
