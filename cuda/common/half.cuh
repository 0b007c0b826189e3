// fp32 to the bits of fp16 and bf16, to nearest even, and back, without a header of CUDA or an intrinsic.
#pragma once
#include "platform.cuh"

namespace neural {

NEURAL_HD u16 to_fp16(float value) {
    FloatBits x;
    x.value = value;
    const u32 sign = (x.bits >> 16) & 0x8000u;
    x.bits &= 0x7fffffffu;
    if (x.bits >= 0x47800000u) return u16(sign | (x.bits > 0x7f800000u ? 0x7e00u : 0x7c00u)); // from 65536 on, Inf, NaN
    if (x.bits < 0x38800000u) { // below 2^-14: adding 1/2 shifts a subnormal's digits into place and rounds
        x.value += 0.5f;
        return u16(sign | (x.bits - 0x3f000000u));
    }
    return u16(sign | ((x.bits - (112u << 23) + 0xfffu + ((x.bits >> 13) & 1u)) >> 13)); // 112: difference of the biases
}

NEURAL_HD u16 to_bf16(float value) {
    FloatBits x;
    x.value = value;
    if ((x.bits & 0x7fffffffu) > 0x7f800000u) return u16((x.bits >> 16) | 0x40u);
    return u16((x.bits + 0x7fffu + ((x.bits >> 16) & 1u)) >> 16);
}

NEURAL_HD float from_fp16(u16 half) {
#if defined(__CUDA_ARCH__) && !defined(NEURAL_CUDA_ON_CPU)
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(half));
    return value;
#else
    FloatBits x;
    x.bits = u32(half & 0x7fffu) << 13;
    const u32 exponent = x.bits & 0x0f800000u;
    x.bits += 112u << 23;
    if (exponent == 0x0f800000u) x.bits += 112u << 23; // Inf, NaN
    if (exponent == 0u) { // subnormal: digits times 2^-24, the implicit one taken off again
        x.bits += 1u << 23;
        x.value -= 6.103515625e-05f;
    }
    x.bits |= u32(half & 0x8000u) << 16;
    return x.value;
#endif
}

NEURAL_HD float from_bf16(u16 half) {
    FloatBits x;
    x.bits = u32(half) << 16;
    return x.value;
}

} // namespace neural
