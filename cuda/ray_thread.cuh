// One ray per thread of a GPU: the machine of ray_march.cuh. Specialised on CONE (0 or 1: does the step grow). Products are
// rounded on their own, so all kernels, however the compiler arranges them, and the CPU test the same points.
#pragma once
#include "ray_march.cuh"

namespace {

using namespace neural;

struct Thread {
    using Float = float;
    using Int = int;
    static __device__ __forceinline__ float splat(float v) { return v; }
    static __device__ __forceinline__ int splat_int(int v) { return v; }
    static __device__ __forceinline__ float product(float a, float b) { return __fmul_rn(a, b); }
    static __device__ __forceinline__ int to_int(float v) { return int(v); }
    static __device__ __forceinline__ float to_float(int v) { return float(v); }
    static __device__ __forceinline__ int as_int(float v) { return __float_as_int(v); }
    static __device__ __forceinline__ float as_float(int v) { return __int_as_float(v); }
    static __device__ __forceinline__ float exp(float v) { return expf(v); }
    static __device__ __forceinline__ float log(float v) { return logf(v); }
    const u64* words;

    __device__ __forceinline__ void block(const march::Grid& grid, int level, const int (&cell)[3], int& size,
                                          int& occupied) const {
        const u32 code = morton::encode(u32(cell[0]), u32(cell[1]), u32(cell[2]));
        const i64 cascade = i64(grid.resolution) * grid.resolution * grid.resolution / 64;
        const u64 word = words[level * cascade + (code >> 6)];
        const u32 bit = code & 63u;
        const u64 byte = (word >> (bit & 56u)) & 255u;
        size = word + 1u < 2u ? 4 : (((byte + 1u) & 254u) == 0u ? 2 : 1);
        occupied = int((word >> bit) & 1u);
    }
};

__device__ __forceinline__ float enter(const march::Grid& grid, const float* origin, i64 ok, const float* direction,
                                       i64 dk, float jitter, float t_min, float t_max, march::Ray<Thread>& ray) {
    const float o[3] = {origin[0], origin[ok], origin[2 * ok]};
    const float d[3] = {direction[0], direction[dk], direction[2 * dk]};
    return march::enter<Thread, CONE>(grid, o, d, jitter, t_min, t_max, ray);
}

} // namespace
