// The MLP on the CPU: blocks of samples in feature-major order, ranges of blocks over threads.
#include "mlp.h"
#include "common/sample_blocks.h"
#include "mlp_block.h"

namespace neural {
namespace NEURAL_ISA {
namespace {

using affine::kForwardBlocks;
using affine::over_ranges;
using mlp::kBlock;
using mlp::Network;

} // namespace

void mlp_forward(const float* in, i64 in_n, i64 in_k, i64 n, const float* params, int n_in, int n_out, int width,
                 int n_hidden, int bias, int activation, int output_activation, float frequency, float* out, i64 out_n,
                 i64 out_k, int n_threads) {
    const Network net{{n_in, n_out, width, n_hidden, bias}, activation, output_activation, frequency, params};
    const i64 task = kForwardBlocks * kBlock;
    const i64 length = (i64(n_in) + n_out) * kBlock + mlp::forward_scratch(net.shape);
    parallel_for_with<float>(length, (n + task - 1) / task, n_threads, [&](i64 i, float* x) {
        float *y = x + i64(n_in) * kBlock, *scratch = y + i64(n_out) * kBlock;
        each_block(i * task, n < (i + 1) * task ? n : (i + 1) * task, [&](i64 first, int count) {
            read_block({in, in_n, in_k}, first, count, n_in, x);
            mlp::forward_block(net, x, count, y, scratch);
            write_block(y, first, count, n_out, {out, out_n, out_k});
        });
    });
}

void mlp_backward(const float* grad_out, i64 go_n, i64 go_k, const float* in, i64 in_n, i64 in_k, i64 n,
                  const float* params, int n_in, int n_out, int width, int n_hidden, int bias, int activation,
                  int output_activation, float frequency, float* grad_in, i64 gi_n, i64 gi_k, float* grad_params,
                  int accumulate, int n_threads) {
    const Network net{{n_in, n_out, width, n_hidden, bias}, activation, output_activation, frequency, params};
    const i64 length = (2 * i64(n_in) + n_out) * kBlock + mlp::backward_scratch(net.shape);
    const auto work = [&](i64 begin, i64 end, float* partial, float* x) {
        float *gx = x + i64(n_in) * kBlock, *gy = gx + i64(n_in) * kBlock, *scratch = gy + i64(n_out) * kBlock;
        each_block(begin, end, [&](i64 first, int count) {
            read_block({in, in_n, in_k}, first, count, n_in, x);
            read_block({grad_out, go_n, go_k}, first, count, n_out, gy);
            mlp::backward_block(net, x, gy, count, grad_in ? gx : nullptr, partial, scratch);
            if (grad_in) write_block(gx, first, count, n_in, {grad_in, gi_n, gi_k});
        });
    };
    over_ranges(net.shape, n, grad_params, accumulate != 0, length, n_threads, work);
}

void mlp_backward_backward(const float* second, i64 second_n, i64 second_k, const float* grad_out, i64 go_n, i64 go_k,
                           const float* in, i64 in_n, i64 in_k, i64 n, const float* params, int n_in, int n_out,
                           int width, int n_hidden, int bias, int activation, int output_activation, float frequency,
                           float* to_grad_out, i64 tg_n, i64 tg_k, float* to_in, i64 ti_n, i64 ti_k,
                           float* grad_params, int accumulate, int n_threads) {
    const Network net{{n_in, n_out, width, n_hidden, bias}, activation, output_activation, frequency, params};
    const i64 length = (3 * i64(n_in) + 2 * i64(n_out)) * kBlock + mlp::backward_backward_scratch(net.shape);
    const auto work = [&](i64 begin, i64 end, float* partial, float* x) {
        float *v = x + i64(n_in) * kBlock, *tx = v + i64(n_in) * kBlock;
        float *gy = tx + i64(n_in) * kBlock, *ty = gy + i64(n_out) * kBlock, *scratch = ty + i64(n_out) * kBlock;
        each_block(begin, end, [&](i64 first, int count) {
            read_block({in, in_n, in_k}, first, count, n_in, x);
            read_block({second, second_n, second_k}, first, count, n_in, v);
            read_block({grad_out, go_n, go_k}, first, count, n_out, gy);
            mlp::backward_backward_block(net, x, gy, v, count, to_grad_out ? ty : nullptr, to_in ? tx : nullptr,
                                         partial, scratch);
            if (to_grad_out) write_block(ty, first, count, n_out, {to_grad_out, tg_n, tg_k});
            if (to_in) write_block(tx, first, count, n_in, {to_in, ti_n, ti_k});
        });
    };
    over_ranges(net.shape, n, grad_params, accumulate != 0, length, n_threads, work);
}

} // namespace NEURAL_ISA
} // namespace neural
