// Sines of whole vectors at one frequency, as sine networks take them: sin(frequency z), and with the cosine.
// The angle is reduced in half turns, z frequency / pi = n + r, |r| <= 1/2, with frequency / pi in two parts, so that
// no digit of z is lost where the machine has fused multiply-adds. sin(pi r) is odd of degree 9, cos(pi r) even of
// degree 8, of least greatest error: 3e-9 and 5e-8 before rounding. (-1)^n is left away where it cancels.
#pragma once
#include "simd.h"

namespace neural {
namespace NEURAL_ISA {

// a b + c, rounded once where the machine can: also where the compiler has a b already.
NEURAL_HD vfloat fused(vfloat a, vfloat b, vfloat c) {
#if defined(__AVX512F__)
    return (vfloat)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined(__FMA__)
    return (vfloat)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined(__ARM_NEON)
    return (vfloat)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
    return a * b + c;
#endif
}

struct Sine {
    float frequency, high, low; // high + low = frequency / pi

    explicit Sine(float f)
        : frequency(f), high(float(f * 0.318309886183790672)), low(float(f * 0.318309886183790672 - double(high))) {}

    // sin(frequency z)
    NEURAL_HD vfloat sin(vfloat z) const {
        vfloat n;
        const vfloat r = reduce(z, n);
        return with_sign(odd(r), n);
    }
    // sin and cos of frequency z, or both times -1
    NEURAL_HD void sincos_up_to_sign(vfloat z, vfloat& s, vfloat& c) const {
        vfloat n;
        const vfloat r = reduce(z, n);
        s = odd(r);
        c = even(r);
    }
    NEURAL_HD vfloat sin_up_to_sign(vfloat z) const {
        vfloat n;
        return odd(reduce(z, n));
    }
    NEURAL_HD void sincos(vfloat z, vfloat& s, vfloat& c) const {
        vfloat n;
        const vfloat r = reduce(z, n);
        s = with_sign(odd(r), n);
        c = with_sign(even(r), n);
    }

  private:
    NEURAL_HD vfloat reduce(vfloat z, vfloat& n) const {
#if defined(__AVX512F__)
        n = (vfloat)_mm512_roundscale_ps((__m512)(z * high), 0x00);
#else
        n = round(z * high);
#endif
        return fused(z, splat(low), fused(z, splat(high), -n));
    }
    static NEURAL_HD vfloat odd(vfloat r) {
        const vfloat t = r * r;
        return r * (3.14159258f + t * (-5.16770690f + t * (2.55003164f + t * (-0.598046448f + t * 0.0772222481f))));
    }
    static NEURAL_HD vfloat even(vfloat r) {
        const vfloat t = r * r;
        return 0.999999953f + t * (-4.93479286f + t * (4.05841191f + t * (-1.33188016f + t * 0.219696798f)));
    }
    static NEURAL_HD vfloat with_sign(vfloat v, vfloat n) { return as_float(as_int(v) ^ (to_int(n) << 31)); }
};

} // namespace NEURAL_ISA
} // namespace neural
