// The modulated sine network on the CPU: blocks of samples in feature-major order, ranges of blocks over threads.
#include "modulated_sine.h"
#include "common/sample_blocks.h"
#include "modulated_sine_block.h"

namespace neural {
namespace NEURAL_ISA {
namespace {

using modulated_sine::kBlock;
using modulated_sine::Network;
using modulated_sine::Shape;

// The features of all grids, one block after the other; grid g of sample i is row g n + i.
void read_grids(const Shape& s, Rows features, i64 n, i64 first, int count, float* blocks) {
    for (int g = 0; g < s.n_grids; ++g)
        read_block(features, g * n + first, count, s.n_features, blocks + i64(g) * s.n_features * kBlock);
}

} // namespace

void modulated_sine_forward(const float* coordinates, i64 x_n, i64 x_k, const float* features, i64 e_n, i64 e_k, i64 n,
                            const float* params, int n_coordinates, int n_features, int n_grids, int n_out, int width,
                            int n_hidden, float frequency, float* out, i64 out_n, i64 out_k, int n_threads) {
    const Network net{{n_coordinates, n_features, n_grids, n_out, width, n_hidden}, Sine(frequency), params};
    const Shape& s = net.shape;
    const i64 x_size = i64(s.n_coordinates) * kBlock, e_size = i64(s.n_grids) * s.n_features * kBlock;
    const i64 y_size = i64(s.n_out) * kBlock, task = affine::kForwardBlocks * kBlock;
    const i64 length = x_size + e_size + y_size + modulated_sine::forward_scratch(s);
    parallel_for_with<float>(length, (n + task - 1) / task, n_threads, [&](i64 i, float* x) {
        float *e = x + x_size, *y = e + e_size, *scratch = y + y_size;
        each_block(i * task, n < (i + 1) * task ? n : (i + 1) * task, [&](i64 first, int count) {
            read_block({coordinates, x_n, x_k}, first, count, s.n_coordinates, x);
            read_grids(s, {features, e_n, e_k}, n, first, count, e);
            modulated_sine::forward_block(net, x, e, count, y, scratch);
            write_block(y, first, count, s.n_out, {out, out_n, out_k});
        });
    });
}

void modulated_sine_backward(const float* grad_out, i64 go_n, i64 go_k, const float* coordinates, i64 x_n, i64 x_k,
                             const float* features, i64 e_n, i64 e_k, i64 n, const float* params, int n_coordinates,
                             int n_features, int n_grids, int n_out, int width, int n_hidden, float frequency,
                             float* grad_coordinates, i64 gx_n, i64 gx_k, float* grad_features, i64 ge_n, i64 ge_k,
                             float* grad_params, int accumulate, int n_threads) {
    const Network net{{n_coordinates, n_features, n_grids, n_out, width, n_hidden}, Sine(frequency), params};
    const Shape& s = net.shape;
    const i64 x_size = i64(s.n_coordinates) * kBlock, e_size = i64(s.n_grids) * s.n_features * kBlock;
    const i64 length = 2 * (x_size + e_size) + i64(s.n_out) * kBlock + modulated_sine::backward_scratch(s);
    affine::over_ranges(s, n, grad_params, accumulate != 0, length, n_threads,
                        [&](i64 begin, i64 end, float* partial, float* x) {
        float *gx = x + x_size, *e = gx + x_size, *ge = e + e_size, *gy = ge + e_size;
        float* const scratch = gy + i64(s.n_out) * kBlock;
        each_block(begin, end, [&](i64 first, int count) {
            read_block({coordinates, x_n, x_k}, first, count, s.n_coordinates, x);
            read_grids(s, {features, e_n, e_k}, n, first, count, e);
            read_block({grad_out, go_n, go_k}, first, count, s.n_out, gy);
            modulated_sine::backward_block(net, x, e, gy, count, grad_coordinates ? gx : nullptr,
                                           grad_features ? ge : nullptr, partial, scratch);
            if (grad_coordinates)
                write_block(gx, first, count, s.n_coordinates, {grad_coordinates, gx_n, gx_k});
            for (int g = 0; grad_features && g < s.n_grids; ++g)
                write_block(ge + i64(g) * s.n_features * kBlock, g * n + first, count, s.n_features,
                            {grad_features, ge_n, ge_k});
        });
    });
}

} // namespace NEURAL_ISA
} // namespace neural
