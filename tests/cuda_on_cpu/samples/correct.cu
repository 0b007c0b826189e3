// Kernels that use what the shim offers, as CUDA defines it. NVRTC compiles them too (test_shim.py).
#include "common/platform.cuh"

using namespace neural;

template <class T> __device__ T warp_sum(T value) {
    for (int step = 16; step > 0; step /= 2) value += __shfl_down_sync(0xffffffffu, value, step);
    return value;
}

// out[0] += sum of in: shuffles, static shared memory, a barrier, an atomic.
extern "C" __global__ void __launch_bounds__(256) total(const float* __restrict__ in, i64 n, float scale, float* out) {
    __shared__ float partial[8];
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    const float sum = warp_sum(i < n ? __ldg(in + i) * scale : 0.0f);
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = sum;
    __syncthreads();
    if (threadIdx.x == 0) {
        float block = 0.0f;
        for (int w = 0; w < int(blockDim.x) / 32; ++w) block += partial[w];
        atomicAdd(out, block);
    }
}

// Reverses each block of blockDim values through dynamic shared memory.
extern "C" __global__ void reverse(const i64* in, i64* out) {
    extern __shared__ i64 tile[];
    const int t = threadIdx.x;
    const i64 base = i64(blockIdx.x) * blockDim.x;
    tile[t] = in[base + t];
    __syncthreads();
    out[base + t] = tile[blockDim.x - 1 - t];
}

// out [12, 32]: one row per collective, one column per lane; in [32].
extern "C" __global__ void collectives(const i64* in, i64* out) {
    const unsigned all = 0xffffffffu;
    const int lane = threadIdx.x;
    const i64 v = in[lane];
    out[0 * 32 + lane] = __shfl_sync(all, v, 5);
    out[1 * 32 + lane] = __shfl_sync(all, v, 3, 8);
    out[2 * 32 + lane] = __shfl_up_sync(all, v, 3, 16);
    out[3 * 32 + lane] = __shfl_down_sync(all, v, 2, 8);
    out[4 * 32 + lane] = __shfl_xor_sync(all, v, 9);
    out[5 * 32 + lane] = __ballot_sync(all, v % 3 == 0);
    out[6 * 32 + lane] = __any_sync(all, v == in[7]) + 2 * __all_sync(all, v == in[7]);
    out[7 * 32 + lane] = __match_any_sync(all, int(v % 4));
    int same;
    out[8 * 32 + lane] = __match_all_sync(all, int(v), &same) + same;
    out[9 * 32 + lane] = __shfl_sync(all, float(v), lane ^ 1) * 2.0f;
    i64 half = 0; // two halves of the warp in different collectives
    if (lane < 16) half = __shfl_xor_sync(0x0000ffffu, v, 1);
    else half = __shfl_xor_sync(0xffff0000u, v, 2);
    out[10 * 32 + lane] = half;
    __syncwarp();
    out[11 * 32 + lane] = __popc(__activemask() & (1u << lane));
}

// One counter per operation; `hits` [n] tells that every old value was seen once.
extern "C" __global__ void atomics(i64 n, int* counters, u64* wide, float* sums, int* hits) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    hits[atomicAdd(&counters[0], 1)] += 1;
    atomicMax(&counters[1], i * 7 % 1000);
    atomicMin(&counters[2], -(i * 11 % 1000));
    atomicOr(&counters[3], 1 << i % 31);
    atomicAnd(&counters[4], ~(1 << i % 5));
    atomicXor(&counters[5], i);
    atomicSub(&counters[6], 2);
    atomicAdd(wide, (u64)i << 20);
    atomicMax(wide + 1, (u64)i << 33);
    atomicAdd(sums, 0.5f);
    unsigned* word = reinterpret_cast<unsigned*>(sums + 1); // a float maximum by compare and swap
    unsigned seen = *word;
    while (__uint_as_float(seen) < float(i)) {
        const unsigned old = atomicCAS(word, seen, __float_as_uint(float(i)));
        if (old == seen) break;
        seen = old;
    }
}

// Indices of a 3-D launch: out[z, y, x] = the linear index that the thread believes in.
extern "C" __global__ void indices(i64 nx, i64 ny, i64 nz, i64* out) {
    const i64 x = blockIdx.x * blockDim.x + threadIdx.x, y = blockIdx.y * blockDim.y + threadIdx.y,
              z = blockIdx.z * blockDim.z + threadIdx.z;
    if (x >= nx || y >= ny || z >= nz) return;
    out[(z * ny + y) * nx + x] += (z * ny + y) * nx + x + i64(gridDim.x) * 1000000;
}

// bits [8] and floats [12] of the intrinsics at one point
extern "C" __global__ void intrinsics(float x, i64 word, i64* bits, float* floats, const float* nothing) {
    const unsigned w = unsigned(word);
    bits[0] = __popc(w);
    bits[1] = __clz(int(w));
    bits[2] = __ffs(int(w));
    bits[3] = __brev(w);
    bits[4] = __umulhi(w, 0x9e3779b9u);
    bits[5] = __float_as_int(x);
    bits[6] = __float2int_rn(x * 2.5f);
    bits[7] = nothing == nullptr;
    const float4 four = make_float4(x, 2.0f, 3.0f, 4.0f);
    const float3 three = make_float3(1.0f, x, 2.0f);
    floats[0] = __expf(x);
    floats[1] = __logf(x);
    floats[2] = __sinf(x);
    floats[3] = __cosf(x);
    floats[4] = rsqrtf(x);
    floats[5] = fmaf(x, 2.0f, 1.0f);
    floats[6] = __fdividef(1.0f, x);
    floats[7] = __saturatef(x);
    sincospif(x, floats + 8, floats + 9);
    floats[10] = four.x + four.w + three.y;
    floats[11] = fmaxf(x, min(2.0f, exp2f(x)));
}

extern __shared__ __align__(16) unsigned char raw[];

template <int N> __device__ float reversed_in_block(float value) {
    __shared__ float tile[N];
    tile[threadIdx.x] = value;
    __syncthreads();
    return tile[N - 1 - threadIdx.x];
}

__device__ __constant__ float kTwo = 2.0f;

// Shared memory in every place it can be declared. `unset` gets what shared memory holds before it is written.
extern "C" __global__ void declarations(const float* in, float* out, float* unset) {
    __shared__ __align__(8) float scale;
    __shared__ float never_written;
    float* dynamic = reinterpret_cast<float*>(raw);
    dynamic[threadIdx.x] = in[threadIdx.x];
    if (threadIdx.x == 0) scale = kTwo;
    __syncthreads();
    out[threadIdx.x] = scale * reversed_in_block<64>(dynamic[threadIdx.x]);
    if (threadIdx.x > 64) never_written = 0.0f; // keeps a compiler from knowing
    unset[threadIdx.x] = never_written;
}
