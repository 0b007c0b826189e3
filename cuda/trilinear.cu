// Trilinear interpolation on the GPU: one thread per point, 1-D blocks of 128. Specialised on CHANNELS (1 to 4) and
// DTYPE, numbered as in trilinear.h. Arrays as there.
#include "trilinear.cuh"

using namespace neural;

#if DTYPE == 0
typedef float Stored;
#elif DTYPE == 1
typedef double Stored;
#elif DTYPE == 2
typedef trilinear::Half Stored;
#elif DTYPE == 3
typedef u8 Stored;
#else
typedef u16 Stored;
#endif

extern "C" __global__ void trilinear_forward(const float* positions, i64 pos_n, i64 pos_k, i64 n, const Stored* voxels,
                                             i64 nx, i64 ny, i64 nz, float scale, float* out) {
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const float* p = positions + i * pos_n;
    float found[CHANNELS];
    trilinear::sample<CHANNELS>(voxels, nx, ny, nz, trilinear::axis(p[0], scale, nx),
                                trilinear::axis(p[pos_k], scale, ny), trilinear::axis(p[2 * pos_k], scale, nz), found);
    for (int c = 0; c < CHANNELS; ++c) out[c * n + i] = found[c];
}
