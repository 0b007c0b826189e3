// Matrix products on blocks of samples: the inner loops of the MLP.
// A block holds up to kBlock samples feature-major: row k of [K, kBlock] is feature k of every sample. All products
// here go through one register tile: kTileRows rows by up to kTileVecs vectors of accumulators, the left operand
// broadcast one scalar at a time, the right operand loaded one vector at a time, and the tile handed to `finish`.
#pragma once
#include "simd.h"

namespace neural {
namespace NEURAL_ISA {
namespace gemm {

constexpr int kBlock = 64;                       // samples; 64 x 64 fp32 is half of a 32 KiB L1
constexpr int kTileRows = 6;                     // 6 x 4 of 32 registers accumulate (AVX-512), 6 x 2 of 16 otherwise
constexpr int kTileVecs = kWidth == 16 ? 4 : 2;

// `count` rounded up to whole vectors.
constexpr int padded(int count) { return (count + kWidth - 1) / kWidth * kWidth; }

// The left operand L [rows, inner]: element (r, k) is data[r * row + k * inner].
struct Left {
    const float* data;
    i64 row, inner;
};

template <int R, int V, class Finish>
NEURAL_HD void tile(Left left, int r0, int inner, const float* bias, const float* right, i64 right_row, int column,
                    const Finish& finish) {
    vfloat acc[R][V];
    NEURAL_UNROLL
    for (int r = 0; r < R; ++r) {
        NEURAL_UNROLL
        for (int v = 0; v < V; ++v) acc[r][v] = bias ? splat(bias[r0 + r]) : vfloat{};
    }
    const float* l = left.data + r0 * left.row;
    const float* x = right + column;
    for (int k = 0; k < inner; ++k, l += left.inner, x += right_row) {
        vfloat b[V];
        NEURAL_UNROLL
        for (int v = 0; v < V; ++v) b[v] = load(x + v * kWidth);
        NEURAL_UNROLL
        for (int r = 0; r < R; ++r) {
            const vfloat a = splat(l[r * left.row]);
            NEURAL_UNROLL
            for (int v = 0; v < V; ++v) acc[r][v] += a * b[v];
        }
    }
    NEURAL_UNROLL
    for (int r = 0; r < R; ++r) {
        NEURAL_UNROLL
        for (int v = 0; v < V; ++v) finish(r0 + r, column + v * kWidth, acc[r][v]);
    }
}

// The last `rows` < R + 1 rows.
template <int R, int V, class Finish>
NEURAL_HD void last_rows(int rows, Left left, int r0, int inner, const float* bias, const float* right, i64 right_row,
                         int column, const Finish& finish) {
    if constexpr (R > 0) {
        if (rows == R) tile<R, V>(left, r0, inner, bias, right, right_row, column, finish);
        else last_rows<R - 1, V>(rows, left, r0, inner, bias, right, right_row, column, finish);
    }
}

template <int V, class Finish>
inline void strip(Left left, int rows, int inner, const float* bias, const float* right, i64 right_row, int column,
                  const Finish& finish) {
    int r = 0;
    for (; r + kTileRows <= rows; r += kTileRows)
        tile<kTileRows, V>(left, r, inner, bias, right, right_row, column, finish);
    last_rows<kTileRows - 1, V>(rows - r, left, r, inner, bias, right, right_row, column, finish);
}

// finish(r, c, sum over k of L[r, k] * right[k * right_row + c .. + kWidth] (+ bias[r])) for all rows r and all
// columns c = 0, kWidth, .. below `columns`. The order of each sum is k = 0 .. inner-1, whatever the tiling.
template <class Finish>
inline void product(Left left, int rows, int inner, const float* bias, const float* right, i64 right_row, int columns,
                    const Finish& finish) {
    int c = 0;
    for (; c + kTileVecs * kWidth <= columns; c += kTileVecs * kWidth)
        strip<kTileVecs>(left, rows, inner, bias, right, right_row, c, finish);
    if constexpr (kTileVecs > 2) {
        for (; c + 2 * kWidth <= columns; c += 2 * kWidth)
            strip<2>(left, rows, inner, bias, right, right_row, c, finish);
    }
    for (; c < columns; c += kWidth) strip<1>(left, rows, inner, bias, right, right_row, c, finish);
}

// What to do with a finished vector of a product.
struct Store { // out[r, c] = value
    float* out;
    i64 row;
    NEURAL_HD void operator()(int r, int c, vfloat value) const { store(out + r * row + c, value); }
};
struct Add { // out[r, c] += value
    float* out;
    i64 row;
    NEURAL_HD void operator()(int r, int c, vfloat value) const {
        float* p = out + r * row + c;
        store(p, load(p) + value);
    }
};
struct Scale { // out[r, c] *= value
    float* out;
    i64 row;
    NEURAL_HD void operator()(int r, int c, vfloat value) const {
        float* p = out + r * row + c;
        store(p, load(p) * value);
    }
};

// Alternating lanes of two vectors: lo = a0 b0 a1 b1 .. of the lower halves, hi = the same of the upper halves.
NEURAL_HD void interleave(vfloat a, vfloat b, vfloat& lo, vfloat& hi) {
#if defined(__AVX512F__)
    lo = __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    hi = __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
#elif defined(__AVX2__)
    lo = __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
    hi = __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
#else
    lo = __builtin_shufflevector(a, b, 0, 4, 1, 5);
    hi = __builtin_shufflevector(a, b, 2, 6, 3, 7);
#endif
}

// log2(kWidth) perfect shuffles of the list of rows transpose a square of lanes.
template <int Rounds> NEURAL_HD void transpose_square(vfloat* rows) {
    if constexpr (Rounds > 1) {
        vfloat next[kWidth];
        NEURAL_UNROLL
        for (int i = 0; i < kWidth / 2; ++i) interleave(rows[i], rows[i + kWidth / 2], next[2 * i], next[2 * i + 1]);
        NEURAL_UNROLL
        for (int i = 0; i < kWidth; ++i) rows[i] = next[i];
        transpose_square<Rounds / 2>(rows);
    }
}

// out[c * out_row + r] = in[r * in_row + c] for r < rows, c < columns.
inline void transpose(const float* in, i64 in_row, int rows, int columns, float* out, i64 out_row) {
    int r = 0;
    for (; r + kWidth <= rows; r += kWidth) {
        int c = 0;
        for (; c + kWidth <= columns; c += kWidth) {
            vfloat square[kWidth];
            NEURAL_UNROLL
            for (int i = 0; i < kWidth; ++i) square[i] = load(in + (r + i) * in_row + c);
            transpose_square<kWidth>(square);
            NEURAL_UNROLL
            for (int i = 0; i < kWidth; ++i) store(out + (c + i) * out_row + r, square[i]);
        }
        for (; c < columns; ++c)
            for (int i = 0; i < kWidth; ++i) out[c * out_row + r + i] = in[(r + i) * in_row + c];
    }
    for (; r < rows; ++r)
        for (int c = 0; c < columns; ++c) out[c * out_row + r] = in[r * in_row + c];
}

} // namespace gemm
} // namespace NEURAL_ISA
} // namespace neural
