// Blocks of gemm::kBlock samples: in and out of feature-major form, and over a range of samples.
#pragma once
#include "block_gemm.h"
#include "features.h"

namespace neural {
namespace NEURAL_ISA {

// Rows first .. first+count-1 of m as a feature-major block [k, kBlock]; the lanes past count are zero.
inline void read_block(Rows m, i64 first, int count, int k, float* block) {
    using gemm::kBlock;
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

// Back again.
inline void write_block(const float* block, i64 first, int count, int k, RowsOut m) {
    using gemm::kBlock;
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

// Calls block(first sample, count) for all blocks of [begin, end).
template <class Visit> void each_block(i64 begin, i64 end, const Visit& visit) {
    for (i64 i = begin; i < end; i += gemm::kBlock) visit(i, end - i < gemm::kBlock ? int(end - i) : gemm::kBlock);
}

} // namespace NEURAL_ISA
} // namespace neural
