// Affine maps on blocks of samples, and the sums of their gradients over a batch: what networks on the CPU are made of.
// A Shape lists the maps of a network: n_maps(), outputs(i), inputs(i), offset(i) of W [outputs, inputs] in the flat
// parameters, `bias` (whether b [outputs] follows), bias_of(params, i). Blocks are feature-major, [features, kBlock].
#pragma once
#include "block_gemm.h"
#include "threads.h"

namespace neural {
namespace NEURAL_ISA {
namespace affine {

using gemm::kBlock;
using gemm::Left;
using gemm::padded;

// finish(r, c, (W_i a + b_i)[r, c])
template <class Shape, class Finish>
inline void apply(const Shape& s, const float* params, int i, const float* a, int n, const Finish& finish) {
    gemm::product(Left{params + s.offset(i), s.inputs(i), 1}, s.outputs(i), s.inputs(i), s.bias_of(params, i), a,
                  kBlock, padded(n), finish);
}

// finish(r, c, (W_i^T g)[r, c])
template <class Shape, class Finish>
inline void transposed(const Shape& s, const float* params, int i, const float* g, int n, const Finish& finish) {
    gemm::product(Left{params + s.offset(i), 1, s.inputs(i)}, s.inputs(i), s.outputs(i), nullptr, g, kBlock, padded(n),
                  finish);
}

// Gradients of the parameters are summed in a layout of their own: per map dW [outputs, padded(inputs)], then
// kWidth lanes of db per output.
template <class Shape> inline i64 partial_offset(const Shape& s, int map) {
    i64 sum = 0;
    for (int i = 0; i < map; ++i) sum += i64(s.outputs(i)) * (padded(s.inputs(i)) + (s.bias ? kWidth : 0));
    return sum;
}
template <class Shape> inline i64 partial_size(const Shape& s) { return partial_offset(s, s.n_maps()); }

// dW_i += g a^T (and db_i += g where with_bias). `flipped` [kBlock, padded(inputs)] holds a^T meanwhile.
template <class Shape>
inline void add_gradient(const Shape& s, int i, const float* g, const float* a, int n, bool with_bias, float* partial,
                         float* flipped) {
    const int rows = s.outputs(i), columns = padded(s.inputs(i));
    float* dw = partial + partial_offset(s, i);
    gemm::transpose(a, kBlock, s.inputs(i), kBlock, flipped, columns);
    gemm::product(Left{g, kBlock, 1}, rows, n, nullptr, flipped, columns, columns, gemm::Add{dw, columns});
    if (!with_bias || !s.bias) return;
    float* db = dw + i64(rows) * columns;
    for (int r = 0; r < rows; ++r) {
        vfloat sum = load(db + r * kWidth);
        for (int c = 0; c < n; c += kWidth) sum += load(g + r * kBlock + c, n - c);
        store(db + r * kWidth, sum);
    }
}

// grad (+)= the sum over ranges, in order, of the partial sums, which are `stride` apart; lanes of a bias are added last.
template <class Shape>
void reduce(const Shape& s, const float* partials, i64 n_ranges, i64 stride, float* grad, bool accumulate, int n_threads) {
    i64 n_rows = 0;
    for (int i = 0; i < s.n_maps(); ++i) n_rows += s.outputs(i);
    parallel_for(n_rows, n_ranges > 1 ? n_threads : 1, [&](i64 o) {
        int i = 0;
        while (o >= s.outputs(i)) o -= s.outputs(i++);
        const i64 columns = padded(s.inputs(i)), rows = s.outputs(i);
        const float* source = partials + partial_offset(s, i) + o * columns;
        float* target = grad + s.offset(i) + o * s.inputs(i);
        for (int c = 0; c < s.inputs(i); c += kWidth) {
            vfloat total{};
            for (i64 k = 0; k < n_ranges; ++k) total += load(source + k * stride + c);
            const int count = s.inputs(i) - c;
            store(target + c, accumulate ? load(target + c, count) + total : total, count);
        }
        if (!s.bias) return;
        source = partials + partial_offset(s, i) + rows * columns + o * kWidth;
        target = grad + s.offset(i) + rows * s.inputs(i) + o;
        vfloat total{};
        for (i64 k = 0; k < n_ranges; ++k) total += load(source + k * stride);
        *target = accumulate ? *target + sum(total) : sum(total);
    });
}

constexpr i64 kForwardBlocks = 8;                // blocks per task
constexpr i64 kMaxRanges = 64;                   // partial sums of a parameter gradient
constexpr i64 kMinRanges = 8;                    // even where they take more memory than kPartialFloats
constexpr i64 kPartialFloats = i64(4) << 20;

// Cuts n samples into ranges that depend on n and the shape only, calls work(begin, end, partial or null, scratch) for
// each on some thread with `length` floats of scratch, and reduces the partial gradients where grad_params is not null.
template <class Shape, class Work>
void over_ranges(const Shape& s, i64 n, float* grad_params, bool accumulate, i64 length, int n_threads,
                 const Work& work) {
    const i64 size = partial_size(s), n_blocks = (n + kBlock - 1) / kBlock;
    i64 most = kPartialFloats / size;
    most = most < kMinRanges ? kMinRanges : most > kMaxRanges ? kMaxRanges : most;
    i64 blocks = (n_blocks + most - 1) / most; // per range
    blocks = blocks < kForwardBlocks ? kForwardBlocks : blocks;
    const i64 n_ranges = (n_blocks + blocks - 1) / blocks;
    const Scratch<float> partials(grad_params ? n_ranges * size : 0);
    parallel_for_with<float>(length, n_ranges, n_threads, [&](i64 range, float* scratch) {
        float* partial = grad_params ? partials.data + range * size : nullptr;
        for (i64 i = 0; partial && i < size; ++i) partial[i] = 0.0f;
        const i64 begin = range * blocks * kBlock, end = begin + blocks * kBlock;
        work(begin, end < n ? end : n, partial, scratch);
    });
    if (grad_params) reduce(s, partials.data, n_ranges, size, grad_params, accumulate, n_threads);
}

} // namespace affine
} // namespace NEURAL_ISA
} // namespace neural
