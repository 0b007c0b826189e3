// Kernels with one planted mistake each, to see that the shim finds it.
#include "common/platform.cuh"

using namespace neural;

// The neighbour's value is read without a barrier.
extern "C" __global__ void missing_barrier(const float* in, float* out) {
    __shared__ float tile[64];
    tile[threadIdx.x] = in[threadIdx.x];
    out[threadIdx.x] = tile[63 - threadIdx.x];
}

// The second round overwrites what slower threads of the first still read.
extern "C" __global__ void missing_second_barrier(const float* in, float* out) {
    __shared__ float tile[64];
    float sum = 0.0f;
    for (int round = 0; round < 4; ++round) {
        tile[threadIdx.x] = in[round * 64 + threadIdx.x];
        __syncthreads();
        sum += tile[63 - threadIdx.x];
    }
    out[threadIdx.x] = sum;
}

extern "C" __global__ void early_return(float* out) {
    if (threadIdx.x >= 40) return;
    __syncthreads();
    out[threadIdx.x] = 1.0f;
}

extern "C" __global__ void two_barriers(float* out) {
    if (threadIdx.x < 32) __syncthreads();
    else
        __syncthreads();
    out[threadIdx.x] = 1.0f;
}

extern "C" __global__ void divergent_shuffle(float* out) {
    float v = 1.0f;
    if (threadIdx.x < 16) v = __shfl_xor_sync(0xffffffffu, v, 1);
    __syncthreads();
    out[threadIdx.x] = v;
}

extern "C" __global__ void shuffle_from_outside(float* out) {
    if (threadIdx.x < 16) out[threadIdx.x] = __shfl_sync(0xffffu, float(threadIdx.x), 20);
}

extern "C" __global__ void left_out_of_mask(float* out) {
    out[threadIdx.x] = __ballot_sync(0xffffu, 1);
}

extern "C" __global__ void shared_overrun(float* out) {
    extern __shared__ float tile[];
    tile[threadIdx.x + 1] = 1.0f;
    __syncthreads();
    out[threadIdx.x] = tile[threadIdx.x];
}

extern "C" __global__ void narrow_integer(int n, float* out) { out[0] = float(n); }

extern "C" __global__ void read_past_end(const float* in, i64 offset, float* out) {
    out[threadIdx.x] = in[i64(threadIdx.x) + offset];
}

extern "C" __global__ void write_past_end(i64 offset, float* out) { out[i64(threadIdx.x) + offset] = 1.0f; }

extern "C" __global__ void bottomless(i64 n, float* out) {
    volatile float stack[100000];
    for (i64 i = 0; i < n; ++i) stack[i] = 1.0f;
    out[threadIdx.x] = stack[n - 1];
}
