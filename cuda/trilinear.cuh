// Trilinear interpolation between the centres of voxels: the value at x is
//   sum over the 8 voxels around p = clamp(scale x - 1/2, 0, n - 1) of prod_a (1 - |p_a - i_a|) v[i],
// so voxel i covers [i, i + 1] / scale and is met exactly in its middle; beyond the outermost centres it stays constant.
#pragma once
#include "common/half.cuh"

namespace neural {
namespace trilinear {

// How the numbers of a voxel are stored; floats first, then integers that stand for [0, 1].
struct Half {
    u16 bits;
};
NEURAL_HD float number(float v) { return v; }
NEURAL_HD float number(double v) { return float(v); }
NEURAL_HD float number(Half v) { return from_fp16(v.bits); }
NEURAL_HD float number(u8 v) { return float(v) * (1.0f / 255.0f); }
NEURAL_HD float number(u16 v) { return float(v) * (1.0f / 65535.0f); }

// One axis: the lower of the two voxels and the share of the upper one. NaN counts as 0.
struct Axis {
    i64 lower;
    float share;
};
NEURAL_HD Axis axis(float x, float scale, i64 n) {
    const float last = float(n - 1);
    float p = x * scale - 0.5f;
    p = p > 0.0f ? p : 0.0f;
    p = p < last ? p : last;
    i64 lower = i64(p);
    if (lower > n - 2) lower = n > 1 ? n - 2 : 0;
    return {lower, p - float(lower)};
}

// out[c] for c < C; voxels is [nx, ny, nz, C], dense. An axis of one voxel is constant.
template <int C, class T>
NEURAL_HD void sample(const T* voxels, i64 nx, i64 ny, i64 nz, Axis x, Axis y, Axis z, float* out) {
    const i64 sz = nz > 1 ? C : 0, sy = ny > 1 ? nz * C : 0, sx = nx > 1 ? ny * nz * C : 0;
    const T* v = voxels + ((x.lower * ny + y.lower) * nz + z.lower) * C;
    for (int c = 0; c < C; ++c) {
        const T* p = v + c;
        const float a = number(p[0]), b = number(p[sz]), d = number(p[sy]), e = number(p[sy + sz]);
        p += sx;
        const float f = number(p[0]), g = number(p[sz]), h = number(p[sy]), k = number(p[sy + sz]);
        const float ab = a + z.share * (b - a), de = d + z.share * (e - d);
        const float fg = f + z.share * (g - f), hk = h + z.share * (k - h);
        const float near = ab + y.share * (de - ab), far = fg + y.share * (hk - fg);
        out[c] = near + x.share * (far - near);
    }
}

} // namespace trilinear
} // namespace neural
