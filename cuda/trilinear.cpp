// Trilinear interpolation on the CPU: a point at a time, for what takes the time is fetching its eight voxels; chunks of
// points over threads.
#include "trilinear.h"
#include "common/threads.h"
#include "trilinear.cuh"

namespace neural {
namespace NEURAL_ISA {
namespace {

constexpr i64 kChunk = 2048; // points per task
constexpr i64 kAhead = 8;    // points whose voxels are fetched before they are needed

template <int C, class T>
void forward(const float* positions, i64 sn, i64 sk, i64 n, const T* voxels, i64 nx, i64 ny, i64 nz, float scale,
             float* out, int n_threads) {
    parallel_for((n + kChunk - 1) / kChunk, n_threads, [&](i64 chunk) {
        const i64 first = chunk * kChunk, end = n < first + kChunk ? n : first + kChunk;
        trilinear::Axis ring[kAhead][3];
        const auto find = [&](i64 i) {
            trilinear::Axis* at = ring[i % kAhead];
            const float* p = positions + i * sn;
            at[0] = trilinear::axis(p[0], scale, nx);
            at[1] = trilinear::axis(p[sk], scale, ny);
            at[2] = trilinear::axis(p[2 * sk], scale, nz);
            const T* v = voxels + ((at[0].lower * ny + at[1].lower) * nz + at[2].lower) * C;
            const i64 sy = ny > 1 ? nz * C : 0, sx = nx > 1 ? ny * nz * C : 0;
            __builtin_prefetch(v), __builtin_prefetch(v + sy);
            __builtin_prefetch(v + sx), __builtin_prefetch(v + sx + sy);
        };
        for (i64 i = first; i < end && i < first + kAhead; ++i) find(i);
        for (i64 i = first; i < end; ++i) {
            const trilinear::Axis* at = ring[i % kAhead];
            float found[C];
            trilinear::sample<C>(voxels, nx, ny, nz, at[0], at[1], at[2], found);
            for (int c = 0; c < C; ++c) out[c * n + i] = found[c];
            if (i + kAhead < end) find(i + kAhead);
        }
    });
}

template <class T>
void with_channels(const float* positions, i64 sn, i64 sk, i64 n, const void* voxels, i64 nx, i64 ny, i64 nz,
                   int n_channels, float scale, float* out, int n_threads) {
    const T* v = (const T*)voxels;
    switch (n_channels) {
    case 1: return forward<1>(positions, sn, sk, n, v, nx, ny, nz, scale, out, n_threads);
    case 2: return forward<2>(positions, sn, sk, n, v, nx, ny, nz, scale, out, n_threads);
    case 3: return forward<3>(positions, sn, sk, n, v, nx, ny, nz, scale, out, n_threads);
    default: return forward<4>(positions, sn, sk, n, v, nx, ny, nz, scale, out, n_threads);
    }
}

} // namespace

void trilinear_forward(const float* positions, i64 pos_stride_n, i64 pos_stride_k, i64 n, const void* voxels, int dtype,
                       i64 nx, i64 ny, i64 nz, int n_channels, float scale, float* out, int n_threads) {
    const auto run = [&](auto kind) {
        with_channels<decltype(kind)>(positions, pos_stride_n, pos_stride_k, n, voxels, nx, ny, nz, n_channels, scale,
                                      out, n_threads);
    };
    switch (dtype) {
    case 0: return run(0.0f);
    case 1: return run(0.0);
    case 2: return run(trilinear::Half{});
    case 3: return run(u8(0));
    default: return run(u16(0));
    }
}

} // namespace NEURAL_ISA
} // namespace neural
