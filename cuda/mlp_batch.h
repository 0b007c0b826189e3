// The sum of partial parameter gradients.
#pragma once
#include "common/sample_blocks.h"
#include "common/threads.h"
#include "mlp_block.h"

namespace neural {
namespace NEURAL_ISA {
namespace mlp {

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
