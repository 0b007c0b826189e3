// Philox random numbers on the GPU: one thread per block of four words, 1-D blocks of 128.
#include "common/philox.cuh"

using namespace neural;

extern "C" __global__ void philox_uniform(i64 seed, i64 stream, i64 step, i64 n, i64 words, float* out, i64 stride_n,
                                          i64 stride_w) {
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= n) return;
    const philox::Words block = philox::block(u64(seed), u32(stream), u32(step), u64(i));
    for (int w = 0; w < words; ++w) out[i * stride_n + w * stride_w] = philox::uniform(block.w[w]);
}
