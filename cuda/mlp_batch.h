// Between a batch and the MLP's blocks: samples in and out, and the sum of partial parameter gradients.
#pragma once
#include "common/features.h"
#include "common/threads.h"
#include "mlp_block.h"

namespace neural {
namespace NEURAL_ISA {
namespace mlp {

// Rows first .. first+count-1 of m as a feature-major block [k, kBlock]; the lanes past count are zero.
inline void read_block(Rows m, i64 first, int count, int k, float* block) {
    const float* p = m.data + first * m.stride_n;
    if (count < kBlock)
        for (i64 i = 0; i < i64(k) * kBlock; i += kWidth) store(block + i, vfloat{});
    if (m.stride_n == 1) {
        for (int r = 0; r < k; ++r) {
            const float* row = p + r * m.stride_k;
            for (int c = 0; c < count; c += kWidth) store(block + r * kBlock + c, load(row + c, count - c));
            __builtin_prefetch(row + kBlock); // the next block: k streams are more than the hardware follows
            __builtin_prefetch(row + kBlock + 16);
            __builtin_prefetch(row + kBlock + 32);
            __builtin_prefetch(row + kBlock + 48);
        }
    } else if (m.stride_k == 1) {
        gemm::transpose(p, m.stride_n, count, k, block, kBlock);
    } else {
        for (int r = 0; r < k; ++r)
            for (int c = 0; c < count; ++c) block[r * kBlock + c] = p[c * m.stride_n + r * m.stride_k];
    }
}

inline void write_block(const float* block, i64 first, int count, int k, RowsOut m) {
    float* p = m.data + first * m.stride_n;
    if (m.stride_n == 1) {
        for (int r = 0; r < k; ++r)
            for (int c = 0; c < count; c += kWidth)
                store(p + r * m.stride_k + c, load(block + r * kBlock + c), count - c);
    } else if (m.stride_k == 1) {
        gemm::transpose(block, kBlock, k, count, p, m.stride_n);
    } else {
        for (int r = 0; r < k; ++r)
            for (int c = 0; c < count; ++c) p[c * m.stride_n + r * m.stride_k] = block[r * kBlock + c];
    }
}

// grad (+)= the sum over ranges, in order, of the partial sums, which are `stride` apart; lanes of a bias are added last.
inline void reduce(const Shape& s, const float* partials, i64 n_ranges, i64 stride, float* grad, bool accumulate,
                   int n_threads) {
    i64 first_row[kMaxHidden + 2] = {};
    for (int l = 0; l <= s.n_hidden; ++l) first_row[l + 1] = first_row[l] + s.outputs(l);
    parallel_for(first_row[s.n_hidden + 1], n_ranges > 1 ? n_threads : 1, [&](i64 row) {
        int l = 0;
        while (row >= first_row[l + 1]) ++l;
        const i64 o = row - first_row[l], columns = padded(s.inputs(l)), rows = s.outputs(l);
        const float* source = partials + partial_offset(s, l) + o * columns;
        float* target = grad + s.offset(l) + o * s.inputs(l);
        for (int c = 0; c < s.inputs(l); c += kWidth) {
            vfloat total{};
            for (i64 i = 0; i < n_ranges; ++i) total += load(source + i * stride + c);
            const int count = s.inputs(l) - c;
            store(target + c, accumulate ? load(target + c, count) + total : total, count);
        }
        if (!s.bias) return;
        source = partials + partial_offset(s, l) + rows * columns + o * kWidth;
        target = grad + s.offset(l) + rows * s.inputs(l) + o;
        vfloat total{};
        for (i64 i = 0; i < n_ranges; ++i) total += load(source + i * stride);
        *target = accumulate ? *target + sum(total) : sum(total);
    });
}

} // namespace mlp
} // namespace NEURAL_ISA
} // namespace neural
