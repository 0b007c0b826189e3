// The occupancy grid on the GPU, 1-D blocks of 128; one thread per cell, draw, chunk or byte. Buffers as in occupancy.h.
#include "occupancy.cuh"

using namespace neural;

extern "C" __global__ void occupancy_points(const i64* cells, i64 n, i64 seed, i64 step, i64 resolution, float centre_x,
                                            float centre_y, float centre_z, float half_extent, float* positions) {
    const i64 j = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (j >= n) return;
    float p[3];
    occupancy::point(cells[j], u64(seed), u32(step), int(resolution), p);
    const float side = 2.0f * half_extent;
    positions[j] = centre_x + p[0] * side;
    positions[n + j] = centre_y + p[1] * side;
    positions[2 * n + j] = centre_z + p[2] * side;
}

// One thread per cell; values [n_cells] or null.
extern "C" __global__ void occupancy_decay(float* thickness, i64 n_cells, const float* values, float decay) {
    const i64 c = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (c >= n_cells) return;
    const float kept = occupancy::decayed(thickness[c], decay);
    thickness[c] = values ? occupancy::raised(kept, values[c]) : kept;
}

// One thread per draw. The order of non-negative floats is that of their bits, and a maximum has no order.
extern "C" __global__ void occupancy_raise(float* thickness, const i64* cells, const float* values, i64 n) {
    const i64 j = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (j >= n) return;
    float* cell = thickness + cells[j];
    if (*cell >= 0.0f && values[j] > 0.0f) atomicMax(reinterpret_cast<int*>(cell), __float_as_int(values[j]));
}

// One thread per chunk of occupancy::kChunk cells.
extern "C" __global__ void occupancy_sums(const float* thickness, i64 n_cells, double* sums) {
    const i64 chunk = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    const i64 first = chunk * occupancy::kChunk;
    if (first >= n_cells) return;
    const i64 end = first + occupancy::kChunk < n_cells ? first + occupancy::kChunk : n_cells;
    double total = 0.0, seen = 0.0;
    for (i64 c = first; c < end; ++c) {
        if (thickness[c] < 0.0f) continue;
        total += double(thickness[c]);
        seen += 1.0;
    }
    sums[2 * chunk] = total;
    sums[2 * chunk + 1] = seen;
}

// One thread per byte of the whole bitfield.
extern "C" __global__ void occupancy_pack(const float* thickness, const float* threshold, i64 n_bytes, u8* bitfield) {
    const i64 b = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (b >= n_bytes) return;
    int byte = 0;
    for (int bit = 0; bit < 8; ++bit) byte |= int(thickness[8 * b + bit] > *threshold) << bit;
    bitfield[b] = u8(byte);
}

// One thread per byte of cascade `cascade`, which sets the bit of the next coarser one; launched finest first.
extern "C" __global__ void occupancy_pool(u8* bitfield, i64 cascade, i64 resolution) {
    const i64 b = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    const i64 bytes = resolution * resolution * resolution / 8;
    if (b >= bytes || bitfield[cascade * bytes + b] == 0) return;
    const u32 cell = occupancy::parent(u32(b), int(resolution));
    u32* words = reinterpret_cast<u32*>(bitfield + (cascade + 1) * bytes);
    atomicOr(reinterpret_cast<unsigned int*>(words + (cell >> 5)), 1u << (cell & 31u)); // little endian
}
