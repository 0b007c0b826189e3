// Affine maps on tiles of samples, on the GPU: what networks are made of. Blocks of kThreads threads; a tile is `Tile`
// samples feature-major, in shared or scratch memory. Every function here is called by all threads of a block.
// A Shape lists the maps of a network: outputs(i), inputs(i), offset(i) of W [outputs, inputs] in the flat parameters,
// `bias` (whether b [outputs] follows), bias_of(params, i).
#pragma once
#include "platform.cuh"

namespace neural {
namespace tiles {

constexpr int kThreads = 128;
constexpr int kStep = 16; // inner length staged at a time
constexpr int kPad = 4;   // at the end of staged rows: keeps them aligned to float4 and spreads columns over the banks

// The index of an operand along which it lies side by side in memory: staging walks that way, in whole sectors.
enum Walk { kAlongInner, kAcross };

struct Matrix { // rows first .. first+count-1 of a [N, K] matrix, read as feature-major with zeros past count
    const float* data;
    i64 n, k, first;
    int count;
    __device__ float operator()(int feature, int sample) const {
        return sample < count ? data[(first + sample) * n + feature * k] : 0.0f;
    }
};

template <int R> __device__ __forceinline__ void load_rows(const float* from, float (&to)[R]) {
    if constexpr (R % 4 == 0) {
        NEURAL_UNROLL
        for (int r = 0; r < R; r += 4) {
            const float4 v = *reinterpret_cast<const float4*>(from + r);
            to[r] = v.x, to[r + 1] = v.y, to[r + 2] = v.z, to[r + 3] = v.w;
        }
    } else {
        NEURAL_UNROLL
        for (int r = 0; r < R; ++r) to[r] = from[r];
    }
}

// sums += left right^T of one inner index
template <int R> __device__ __forceinline__ void add_step(const float* left, const float* right, float (&sums)[R][4]) {
    float a[R], b[4];
    load_rows(left, a);
    load_rows(right, b);
    NEURAL_UNROLL
    for (int r = 0; r < R; ++r) {
        NEURAL_UNROLL
        for (int c = 0; c < 4; ++c) sums[r][c] += a[r] * b[c];
    }
}

template <int Tile> struct Gemm {
    static constexpr int kColumnGroups = Tile / 4; // a thread accumulates R x 4 results of row tiles R kRowGroups high
    static constexpr int kRowGroups = kThreads / kColumnGroups;
    static constexpr int kRows = 64 / kRowGroups, kFewRows = 16 / kRowGroups; // R; the latter for 16 rows or fewer
    static constexpr int kRightRow = Tile + kPad;
    static constexpr int kStaging = kStep * (kRows * kRowGroups + kPad + kRightRow); // floats, 16-byte aligned

    struct Block { // a feature-major [features, Tile] matrix in shared or scratch memory
        const float* data;
        __device__ float operator()(int feature, int sample) const { return data[feature * Tile + sample]; }
    };

    template <int R, Walk LeftWalk, Walk RightWalk, class LeftAt, class RightAt, class Finish>
    static __device__ __forceinline__ void product_in_tiles(float* staging, int rows, int inner, int columns,
                                                            const LeftAt& left, const RightAt& right,
                                                            const Finish& finish) {
        constexpr int kRowTile = R * kRowGroups, kLeftRow = kRowTile + kPad;
        float *l = staging, *x = staging + kStep * kLeftRow;
        const int thread = int(threadIdx.x), row = thread / kColumnGroups * R, column = thread % kColumnGroups * 4;
        for (int r0 = 0; r0 < rows; r0 += kRowTile) {
            for (int c0 = 0; c0 < columns; c0 += Tile) {
                float sums[R][4] = {};
                for (int k0 = 0; k0 < inner; k0 += kStep) {
                    __syncthreads(); // the last step has been read
                    for (int i = thread; i < kStep * kRowTile; i += kThreads) {
                        const int k = LeftWalk == kAlongInner ? i % kStep : i / kRowTile;
                        const int r = LeftWalk == kAlongInner ? i / kStep : i % kRowTile;
                        l[k * kLeftRow + r] = r0 + r < rows && k0 + k < inner ? left(r0 + r, k0 + k) : 0.0f;
                    }
                    for (int i = thread; i < kStep * Tile; i += kThreads) {
                        const int k = RightWalk == kAlongInner ? i % kStep : i / Tile;
                        const int c = RightWalk == kAlongInner ? i / kStep : i % Tile;
                        x[k * kRightRow + c] = c0 + c < columns && k0 + k < inner ? right(k0 + k, c0 + c) : 0.0f;
                    }
                    __syncthreads();
                    for (int k = 0; k < kStep;) {
                        NEURAL_UNROLL
                        for (int i = 0; i < 4; ++i, ++k)
                            add_step(l + k * kLeftRow + row, x + k * kRightRow + column, sums);
                    }
                }
                NEURAL_UNROLL
                for (int r = 0; r < R; ++r) {
                    NEURAL_UNROLL
                    for (int c = 0; c < 4; ++c)
                        if (r0 + row + r < rows && c0 + column + c < columns)
                            finish(r0 + row + r, c0 + column + c, sums[r][c]);
                }
            }
        }
        __syncthreads();
    }

    // finish(r, c, sum over k < inner of left(r, k) * right(k, c)) for r < rows and c < columns; ends with a barrier.
    template <Walk LeftWalk, Walk RightWalk, class LeftAt, class RightAt, class Finish>
    static __device__ void product(float* staging, int rows, int inner, int columns, const LeftAt& left,
                                   const RightAt& right, const Finish& finish) {
        if (rows <= kFewRows * kRowGroups) // the outputs of most networks
            product_in_tiles<kFewRows, LeftWalk, RightWalk>(staging, rows, inner, columns, left, right, finish);
        else product_in_tiles<kRows, LeftWalk, RightWalk>(staging, rows, inner, columns, left, right, finish);
    }

    // finish(r, c, (W_i a (+ b_i))[r, c])
    template <class Shape, class RightAt, class Finish>
    static __device__ void apply(float* staging, const Shape& shape, const float* params, int i, bool with_bias,
                                 const RightAt& a, const Finish& finish) {
        const float* w = params + shape.offset(i);
        const float* b = with_bias ? shape.bias_of(params, i) : nullptr;
        const int inputs = shape.inputs(i);
        product<kAlongInner, kAcross>(staging, shape.outputs(i), inputs, Tile,
                                      [&](int r, int k) { return w[r * inputs + k]; }, a,
                                      [&](int r, int c, float sum) { finish(r, c, b ? sum + b[r] : sum); });
    }

    // finish(r, c, (W_i^T g)[r, c])
    template <class Shape, class RightAt, class Finish>
    static __device__ void transposed(float* staging, const Shape& shape, const float* params, int i, const RightAt& g,
                                      const Finish& finish) {
        const float* w = params + shape.offset(i);
        const int inputs = shape.inputs(i);
        product<kAcross, kAcross>(staging, inputs, shape.outputs(i), Tile,
                                  [&](int r, int k) { return w[k * inputs + r]; }, g, finish);
    }

    // partial += g a^T, and the bias's part where with_bias
    template <class Shape, class LeftAt, class RightAt>
    static __device__ void add_gradient(float* staging, const Shape& shape, int i, int count, bool with_bias,
                                        const LeftAt& g, const RightAt& a, float* partial) {
        const int rows = shape.outputs(i), inputs = shape.inputs(i);
        float* dw = partial + shape.offset(i);
        product<kAlongInner, kAlongInner>(staging, rows, count, inputs, g, [&](int k, int c) { return a(c, k); },
                                          [&](int r, int c, float sum) { dw[r * inputs + c] += sum; });
        if (!with_bias || !shape.bias) return;
        const int lane = int(threadIdx.x) % 32;
        for (int r = int(threadIdx.x) / 32; r < rows; r += kThreads / 32) { // a warp per row
            float sum = 0.0f;
            for (int s = lane; s < count; s += 32) sum += g(r, s);
            for (int step = 16; step > 0; step /= 2) sum += __shfl_down_sync(0xffffffffu, sum, step);
            if (lane == 0) dw[rows * inputs + r] += sum;
        }
    }

    // Calls visit(i) for each element of a [rows, Tile] matrix; ends with a barrier.
    template <class Visit> static __device__ void each(int rows, const Visit& visit) {
        for (int i = int(threadIdx.x); i < rows * Tile; i += kThreads) visit(i);
        __syncthreads();
    }

    static __device__ int count_at(i64 first, i64 n) { return n - first < Tile ? int(n - first) : Tile; }
};

// One thread per parameter: grad[i] (+)= the sum of the n_rows rows of partials [n_rows, n_params], in order.
__device__ __forceinline__ void reduce(const float* partials, i64 n_rows, i64 n_params, float* grad, i64 accumulate) {
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= n_params) return;
    float sum = 0.0f;
    for (i64 row = 0; row < n_rows; ++row) sum += partials[row * n_params + i];
    grad[i] = accumulate ? grad[i] + sum : sum;
}

} // namespace tiles
} // namespace neural
