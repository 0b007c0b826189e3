// What the kernels of the lattice encodings share on a GPU: how a point meets a level, and how entries are read and added
// to. Specialised on DIMS, FEATURES, OUTSIDE and TABLE_DTYPE (0 fp32, 1 fp16, 2 bf16). Tables are aligned to an entry or
// to 16 bytes, whichever is less.
#pragma once
#include "half.cuh"
#include "level.cuh"

using namespace neural;

namespace {

typedef grid::Level<DIMS> Level;

template <class T> struct alignas(sizeof(T) * FEATURES < 16 ? sizeof(T) * FEATURES : 16) Entry {
    T values[FEATURES];
};

__device__ i64 point_index() { return i64(blockIdx.x) * blockDim.x + threadIdx.x; }

// The descriptor of a level in the sub-table of point n: the last one whose segment starts at or before n.
__device__ Level level_of(i64 n, int l, const i64* levels, const i64* segments, i64 n_tables, i64 n_levels) {
    i64 table = 0;
    for (i64 end = n_tables; end - table > 1;) {
        const i64 middle = (table + end) / 2;
        if (segments[middle] <= n) table = middle;
        else end = middle;
    }
    return grid::read_level<DIMS>(levels + (table * n_levels + l) * grid::kRowLength<DIMS>);
}

// floor(p); `cell` is that as an integer, at most kFarthestCell from 0.
__device__ float whole(float p, u32& cell) {
    const float f = floorf(p);
    cell = u32(int(fmaxf(fminf(f, grid::kFarthestCell), -grid::kFarthestCell)));
    return f;
}

// A coordinate as the mode for what lies outside has it. `inside` is 0 where it does not move the result, else 1; `valid`
// becomes 0 where the point counts as outside.
__device__ float read_axis(float x, float& inside, float& valid) {
    inside = 1.0f;
    if (OUTSIDE != grid::kWrap) {
        const bool in = x >= 0.0f && x <= 1.0f;
        inside = in ? 1.0f : 0.0f;
        if (OUTSIDE == grid::kZero) {
            valid *= inside;
            x = in ? x : 0.0f;
        } else {
            x = x < 0.0f ? 0.0f : (x > 1.0f ? 1.0f : x); // NaN stays
        }
    }
    return x;
}

// Index of a key's entry in the whole table. A dense key is too large at the box's faces only.
__device__ i64 entry_index(u32 key, const Level& level) {
    if (level.hashed) key &= level.size - 1;
    else if (key >= level.size) key %= level.size;
    return level.offset + key;
}

__device__ void read_entry(const void* table, i64 index, float* values) {
#if TABLE_DTYPE == 0
    const Entry<float> entry = ((const Entry<float>*)table)[index];
    for (int f = 0; f < FEATURES; ++f) values[f] = entry.values[f];
#else
    const Entry<u16> entry = ((const Entry<u16>*)table)[index];
    for (int f = 0; f < FEATURES; ++f)
        values[f] = TABLE_DTYPE == 1 ? from_fp16(entry.values[f]) : from_bf16(entry.values[f]);
#endif
}

// target[f] += scale * values[f]; sm_90 and later add two or four values at once.
__device__ void add_entry(float* target, float scale, const float* values) {
#if __CUDA_ARCH__ >= 900 && FEATURES >= 4
    for (int f = 0; f < FEATURES; f += 4)
        asm volatile("red.global.add.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(target + f)),
                     "f"(scale * values[f]), "f"(scale * values[f + 1]), "f"(scale * values[f + 2]),
                     "f"(scale * values[f + 3])
                     : "memory");
#elif __CUDA_ARCH__ >= 900 && FEATURES == 2
    asm volatile("red.global.add.v2.f32 [%0], {%1, %2};" ::"l"(__cvta_generic_to_global(target)), "f"(scale * values[0]),
                 "f"(scale * values[1])
                 : "memory");
#else
    for (int f = 0; f < FEATURES; ++f) atomicAdd(target + f, scale * values[f]);
#endif
}

// One bit per 64 entries. Most bits are set already, so they are read first; a stale read costs an atomic, no more.
__device__ void mark(u64* touched, i64 index) {
    u32* word = (u32*)touched + (index >> 11); // little-endian halves of the 64-bit words
    const u32 bit = 1u << ((index >> 6) & 31);
    if (!(*word & bit)) atomicOr(word, bit);
}

// A level's upstream gradients of point n, times scale; false if all are zero.
__device__ bool read_grad(const float* grad, i64 grad_n, i64 grad_k, i64 n, int l, float scale, float* up) {
    bool any = false;
    for (int f = 0; f < FEATURES; ++f) {
        up[f] = grad[n * grad_n + (l * FEATURES + f) * grad_k] * scale;
        any = any || up[f] != 0.0f;
    }
    return any;
}

__device__ float dot(const float* a, const float* b) {
    float sum = a[0] * b[0];
    for (int f = 1; f < FEATURES; ++f) sum += a[f] * b[f];
    return sum;
}

} // namespace
