// The MLP on the GPU, plain FMA form. Specialised on N_IN, N_OUT, WIDTH, N_HIDDEN, BIAS, ACTIVATION,
// OUTPUT_ACTIVATION (codes of mlp::Activation). Blocks of kThreads threads; a block works on tiles of kTile samples,
// feature-major, and takes every gridDim.x-th tile. Matrices [N, K] are fp32 in any strides; null results are skipped.
// Sums over samples: each block adds its tiles, in order, into its own row of `partials` [gridDim.x, n_params] (zero
// before), and mlp_reduce adds the rows in order. Nothing is atomic, so a fixed grid gives the same bits every time.
// The steps are those of mlp_block.h, where the formulas are.
#include "common/tile_gemm.cuh"
#include "mlp.cuh"

using namespace neural;

constexpr int kTile = WIDTH <= 64 ? 64 : 32; // samples; also in mlp.py
constexpr int kHidden = WIDTH * kTile;
constexpr int kOutput = N_OUT * kTile;

using Gemm = tiles::Gemm<kTile>;
using Block = Gemm::Block;
using tiles::kThreads;
using tiles::Matrix;

__device__ constexpr mlp::Shape kShape{N_IN, N_OUT, WIDTH, N_HIDDEN, BIAS};

struct Math {
    static __device__ float exp(float v) { return expf(v); }
    static __device__ float log(float v) { return logf(v); }
    static __device__ void sincos(float v, float& s, float& c) {
        s = sinf(v);
        c = cosf(v);
    }
};

// z = W_l a (+ b_l)
template <class RightAt>
__device__ void affine(float* staging, const float* params, int layer, bool with_bias, const RightAt& a, float* z) {
    Gemm::apply(staging, kShape, params, layer, with_bias, a,
                [&](int r, int c, float value) { z[r * kTile + c] = value; });
}

// finish(r, c, (W_l^T g)[r, c])
template <class RightAt, class Finish>
__device__ void transposed(float* staging, const float* params, int layer, const RightAt& g, const Finish& finish) {
    Gemm::transposed(staging, kShape, params, layer, g, finish);
}

// partial += g a^T, and the bias's part where with_bias
template <class LeftAt, class RightAt>
__device__ void add_weight_gradient(float* staging, int layer, int count, bool with_bias, const LeftAt& g,
                                    const RightAt& a, float* partial) {
    Gemm::add_gradient(staging, kShape, layer, count, with_bias, g, a, partial);
}

// visit(i, jet of z[i]) for a layer's [outputs, kTile] matrix; ends with a barrier.
template <int Act, class Visit>
__device__ void each_jet(const float* z, int rows, float frequency, const Visit& visit) {
    for (int i = int(threadIdx.x); i < rows * kTile; i += kThreads) visit(i, mlp::activate<Act, Math>(z[i], frequency));
    __syncthreads();
}

__device__ void write(const float* block, int rows, int count, i64 first, float* out, i64 n, i64 k) {
    for (int i = int(threadIdx.x); i < rows * kTile; i += kThreads)
        if (i % kTile < count) out[(first + i % kTile) * n + i / kTile * k] = block[i];
}

extern "C" __global__ void mlp_forward(const float* in, i64 in_n, i64 in_k, i64 n, const float* params,
                                       float frequency, float* out, i64 out_n, i64 out_k) {
    __shared__ __align__(16) float staging[Gemm::kStaging];
    __shared__ float hidden[2 * kHidden];
    for (i64 first = i64(blockIdx.x) * kTile; first < n; first += i64(gridDim.x) * kTile) {
        const int count = Gemm::count_at(first, n);
        affine(staging, params, 0, true, Matrix{in, in_n, in_k, first, count}, hidden);
        each_jet<ACTIVATION>(hidden, WIDTH, frequency, [&](int i, auto jet) { hidden[i] = jet.value; });
        for (int l = 1; l < N_HIDDEN; ++l) {
            float* z = hidden + l % 2 * kHidden;
            affine(staging, params, l, true, Block{hidden + (l - 1) % 2 * kHidden}, z);
            each_jet<ACTIVATION>(z, WIDTH, frequency, [&](int i, auto jet) { z[i] = jet.value; });
        }
        Gemm::apply(staging, kShape, params, N_HIDDEN, true, Block{hidden + (N_HIDDEN - 1) % 2 * kHidden},
                    [&](int r, int c, float value) {
            if (c < count)
                out[(first + c) * out_n + r * out_k] = mlp::activate<OUTPUT_ACTIVATION, Math>(value, frequency).value;
        });
    }
}

// scratch: (2 N_HIDDEN WIDTH + N_OUT) kTile floats per block
extern "C" __global__ void mlp_backward(const float* grad_out, i64 go_n, i64 go_k, const float* in, i64 in_n, i64 in_k,
                                        i64 n, const float* params, float frequency, float* grad_in, i64 gi_n,
                                        i64 gi_k, float* partials, float* scratch) {
    __shared__ __align__(16) float staging[Gemm::kStaging];
    float* values = scratch + i64(blockIdx.x) * (2 * N_HIDDEN * kHidden + kOutput);
    float* slopes = values + N_HIDDEN * kHidden; // phi', then the gradient of z in its place; the outputs' at the end
    float* partial = partials ? partials + blockIdx.x * kShape.offset(N_HIDDEN + 1) : nullptr;
    for (i64 first = i64(blockIdx.x) * kTile; first < n; first += i64(gridDim.x) * kTile) {
        const int count = Gemm::count_at(first, n);
        const Matrix input{in, in_n, in_k, first, count}, upstream{grad_out, go_n, go_k, first, count};
        for (int l = 0; l < N_HIDDEN; ++l) {
            float *value = values + l * kHidden, *slope = slopes + l * kHidden;
            if (l == 0) affine(staging, params, l, true, input, value);
            else affine(staging, params, l, true, Block{value - kHidden}, value);
            each_jet<ACTIVATION>(value, WIDTH, frequency, [&](int i, auto jet) {
                value[i] = jet.value;
                slope[i] = jet.first;
            });
        }
        float* g = slopes + N_HIDDEN * kHidden;
        if (OUTPUT_ACTIVATION != mlp::kNone) // whose slope needs no z
            affine(staging, params, N_HIDDEN, true, Block{values + (N_HIDDEN - 1) * kHidden}, g);
        each_jet<OUTPUT_ACTIVATION>(g, N_OUT, frequency, [&](int i, auto jet) {
            g[i] = jet.first * upstream(i / kTile, i % kTile);
        });
        for (int l = N_HIDDEN; l >= 0; --l) {
            if (partial && l == 0) add_weight_gradient(staging, l, count, true, Block{g}, input, partial);
            if (l == 0) break;
            if (partial)
                add_weight_gradient(staging, l, count, true, Block{g}, Block{values + (l - 1) * kHidden}, partial);
            float* below = slopes + (l - 1) * kHidden;
            transposed(staging, params, l, Block{g}, [&](int r, int c, float sum) { below[r * kTile + c] *= sum; });
            g = below;
        }
        if (grad_in)
            transposed(staging, params, 0, Block{g}, [&](int r, int c, float sum) {
                if (c < count) grad_in[(first + c) * gi_n + r * gi_k] = sum;
            });
        __syncthreads(); // the next tile writes what the bias sums read
    }
}

// scratch: (4 N_HIDDEN WIDTH + WIDTH + 3 N_OUT) kTile floats per block
extern "C" __global__ void mlp_backward_backward(const float* second, i64 second_n, i64 second_k,
                                                 const float* grad_out, i64 go_n, i64 go_k, const float* in, i64 in_n,
                                                 i64 in_k, i64 n, const float* params, float frequency,
                                                 float* to_grad_out, i64 tg_n, i64 tg_k, float* to_in, i64 ti_n,
                                                 i64 ti_k, float* partials, float* scratch) {
    __shared__ __align__(16) float staging[Gemm::kStaging];
    float* values = scratch + i64(blockIdx.x) * ((4 * N_HIDDEN + 1) * kHidden + 3 * kOutput); // a
    float* tangents = values + N_HIDDEN * kHidden;                                            // t, the outputs' too
    float* slopes = tangents + N_HIDDEN * kHidden + kOutput; // phi', then g
    float* bends = slopes + N_HIDDEN * kHidden + kOutput;    // phi'' s, then q; holds the outputs' z meanwhile
    float* p = bends + N_HIDDEN * kHidden + kOutput;
    float* partial = partials ? partials + blockIdx.x * kShape.offset(N_HIDDEN + 1) : nullptr;
    for (i64 first = i64(blockIdx.x) * kTile; first < n; first += i64(gridDim.x) * kTile) {
        const int count = Gemm::count_at(first, n);
        const Matrix input{in, in_n, in_k, first, count}, upstream{grad_out, go_n, go_k, first, count};
        const Matrix direction{second, second_n, second_k, first, count};
        for (int l = 0; l <= N_HIDDEN; ++l) {
            const bool last = l == N_HIDDEN;
            float *value = (last ? bends : values) + l * kHidden, *tangent = tangents + l * kHidden;
            float *slope = slopes + l * kHidden, *bend = bends + l * kHidden;
            if (l == 0) {
                affine(staging, params, l, true, input, value);
                affine(staging, params, l, false, direction, tangent);
            } else {
                affine(staging, params, l, true, Block{values + (l - 1) * kHidden}, value);
                affine(staging, params, l, false, Block{tangent - kHidden}, tangent);
            }
            auto keep = [&](int i, auto jet) {
                if (!last) value[i] = jet.value;
                slope[i] = jet.first;
                bend[i] = jet.second * tangent[i];
                tangent[i] *= jet.first;
            };
            if (last) each_jet<OUTPUT_ACTIVATION>(value, N_OUT, frequency, keep);
            else each_jet<ACTIVATION>(value, WIDTH, frequency, keep);
        }
        if (to_grad_out) write(tangents + N_HIDDEN * kHidden, N_OUT, count, first, to_grad_out, tg_n, tg_k);
        for (int l = N_HIDDEN; l >= 0; --l) {
            float *g = slopes + l * kHidden, *q = bends + l * kHidden;
            if (l == N_HIDDEN) {
                for (int i = int(threadIdx.x); i < kOutput; i += kThreads) {
                    const float u = upstream(i / kTile, i % kTile);
                    q[i] *= u;
                    g[i] *= u;
                }
            } else {
                const Block g_above{g + kHidden}, q_above{q + kHidden};
                transposed(staging, params, l + 1, g_above, [&](int r, int c, float sum) { p[r * kTile + c] = sum; });
                transposed(staging, params, l + 1, q_above, [&](int r, int c, float sum) {
                    const int i = r * kTile + c;
                    q[i] = q[i] * p[i] + g[i] * sum;
                    g[i] *= p[i];
                });
            }
            __syncthreads();
            if (!partial) continue;
            if (l == 0) {
                add_weight_gradient(staging, l, count, false, Block{g}, direction, partial);
                add_weight_gradient(staging, l, count, true, Block{q}, input, partial);
            } else {
                add_weight_gradient(staging, l, count, false, Block{g}, Block{tangents + (l - 1) * kHidden}, partial);
                add_weight_gradient(staging, l, count, true, Block{q}, Block{values + (l - 1) * kHidden}, partial);
            }
        }
        if (to_in)
            transposed(staging, params, 0, Block{bends}, [&](int r, int c, float sum) {
                if (c < count) to_in[(first + c) * ti_n + r * ti_k] = sum;
            });
        __syncthreads(); // the next tile writes what the bias sums and `write` read
    }
}

// grad [n_params] (+)= the sum of the n_rows rows of partials, in order; one thread per parameter
extern "C" __global__ void mlp_reduce(const float* partials, i64 n_rows, float* grad, i64 accumulate) {
    tiles::reduce(partials, n_rows, kShape.offset(N_HIDDEN + 1), grad, accumulate);
}
