// The MLP on the CPU: blocks of samples in feature-major order, ranges of blocks over threads.
#include "mlp.h"
#include "common/threads.h"
#include "mlp_batch.h"

namespace neural {
namespace NEURAL_ISA {
namespace {

using mlp::kBlock;
using mlp::Network;
using mlp::Shape;

constexpr i64 kForwardBlocks = 8;          // blocks per task
constexpr i64 kMaxRanges = 64;             // partial sums of a parameter gradient
constexpr i64 kMinRanges = 8;              // even where they take more memory than kPartialFloats
constexpr i64 kPartialFloats = i64(4) << 20;

// Cuts n samples into ranges that depend on n and the shape only, calls work(begin, end, partial or null, scratch) for
// each on some thread with `length` floats of scratch, and reduces the partial gradients where grad_params is not null.
template <class Work>
void over_ranges(const Shape& s, i64 n, float* grad_params, bool accumulate, i64 length, int n_threads,
                 const Work& work) {
    const i64 size = mlp::partial_size(s), n_blocks = (n + kBlock - 1) / kBlock;
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
    if (grad_params) mlp::reduce(s, partials.data, n_ranges, size, grad_params, accumulate, n_threads);
}

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
