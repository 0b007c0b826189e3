// Sums over the threads of a block, in an order that depends on nothing but the block's size. GPU only.
#pragma once
#include "platform.cuh"

namespace neural {

// out[k] = sum over the block of values[k]. All threads of the block come here; 1-D blocks of a multiple of 32.
template <int N> __device__ __forceinline__ void block_sums(const float (&values)[N], float* out) {
    __shared__ float parts[N][32];
    const int lane = int(threadIdx.x % 32), warp = int(threadIdx.x / 32), n_warps = int(blockDim.x / 32);
    for (int k = 0; k < N; ++k) {
        float v = values[k];
        for (int step = 16; step > 0; step /= 2) v += __shfl_down_sync(0xffffffffu, v, step);
        if (lane == 0) parts[k][warp] = v;
    }
    __syncthreads();
    if (threadIdx.x < N) {
        float sum = 0.0f;
        for (int w = 0; w < n_warps; ++w) sum += parts[threadIdx.x][w];
        out[threadIdx.x] = sum;
    }
}

} // namespace neural
