// The modulated sine network on the GPU, plain FMA form. Specialised on N_COORDINATES, N_FEATURES, N_GRIDS, N_OUT,
// WIDTH, N_HIDDEN. Blocks of tiles::kThreads threads; a block works on tiles of kTile samples, feature-major, and takes
// every gridDim.x-th tile. Arrays as in modulated_sine.h; null results are skipped. Sums over samples: each block adds
// its tiles, in order, into its own row of `partials` [gridDim.x, n_params] (zero before), and modulated_sine_reduce
// adds the rows in order. Nothing is atomic, so a fixed grid gives the same bits every time.
// The steps are those of modulated_sine_block.h.
#include "common/tile_gemm.cuh"
#include "modulated_sine.cuh"

using namespace neural;

constexpr int kTile = WIDTH <= 64 ? 64 : 32; // samples; also in modulated_sine.py
constexpr int kHidden = WIDTH * kTile;
constexpr int kGrid = N_FEATURES * kTile;

using Gemm = tiles::Gemm<kTile>;
using Block = Gemm::Block;
using tiles::Matrix;

__device__ constexpr modulated_sine::Shape kShape{N_COORDINATES, N_FEATURES, N_GRIDS, N_OUT, WIDTH, N_HIDDEN};

struct Sine {
    float frequency;
    __device__ float sin(float z) const { return sinf(frequency * z); }
    __device__ float sin_up_to_sign(float z) const { return sinf(frequency * z); }
    __device__ void sincos(float z, float& s, float& c) const {
        s = sinf(frequency * z);
        c = cosf(frequency * z);
    }
    __device__ void sincos_up_to_sign(float z, float& s, float& c) const { sincos(z, s, c); }
};

struct Inputs { // of a tile
    const float* x;
    i64 x_n, x_k;
    const float* e;
    i64 e_n, e_k, n, first;
    int count;

    __device__ Matrix coordinates() const { return {x, x_n, x_k, first, count}; }
    __device__ Matrix grid(int g) const { return {e, e_n, e_k, g * n + first, count}; }
};

// sum = e_0 + e_1 + ..
__device__ void add_grids(const Inputs& in, float* sum) {
    Gemm::each(N_FEATURES, [&](int i) {
        float total = in.grid(0)(i / kTile, i % kTile);
        for (int g = 1; g < N_GRIDS; ++g) total += in.grid(g)(i / kTile, i % kTile);
        sum[i] = total;
    });
}

// z and v of hidden layer `layer` from `below`, the layer under it.
__device__ void hidden_layer(float* staging, const float* params, int layer, const float* below, const Inputs& in,
                             float* z, float* v) {
    const auto to_v = [&](int r, int c, float value) { v[r * kTile + c] = value; };
    Gemm::apply(staging, kShape, params, 2 * layer, true, Block{below},
                [&](int r, int c, float value) { z[r * kTile + c] = value; });
    const Matrix by = layer == 0 ? in.coordinates() : in.grid(kShape.grid_of(layer));
    Gemm::apply(staging, kShape, params, 2 * layer + 1, true, by, to_v);
}

// scratch: (N_FEATURES + 3 WIDTH) kTile floats per block
extern "C" __global__ void modulated_sine_forward(const float* coordinates, i64 x_n, i64 x_k, const float* features,
                                                  i64 e_n, i64 e_k, i64 n, const float* params, float frequency,
                                                  float* out, i64 out_n, i64 out_k, float* scratch) {
    __shared__ __align__(16) float staging[Gemm::kStaging];
    float* sum = scratch + i64(blockIdx.x) * (kGrid + 3 * kHidden);
    float *hidden = sum + kGrid, *v = hidden + 2 * kHidden;
    const Sine sine{frequency};
    for (i64 first = i64(blockIdx.x) * kTile; first < n; first += i64(gridDim.x) * kTile) {
        const int count = Gemm::count_at(first, n);
        const Inputs in{coordinates, x_n, x_k, features, e_n, e_k, n, first, count};
        add_grids(in, sum);
        const float* below = sum;
        for (int l = 0; l < N_HIDDEN; ++l) {
            float* z = hidden + l % 2 * kHidden;
            hidden_layer(staging, params, l, below, in, z, v);
            Gemm::each(WIDTH, [&](int i) { z[i] = modulated_sine::value(sine, z[i], v[i]); });
            below = z;
        }
        Gemm::apply(staging, kShape, params, 2 * N_HIDDEN, true, Block{below}, [&](int r, int c, float value) {
            if (c < count) out[(first + c) * out_n + r * out_k] = value;
        });
    }
}

// scratch: (N_FEATURES + 3 N_HIDDEN WIDTH) kTile floats per block
extern "C" __global__ void modulated_sine_backward(const float* grad_out, i64 go_n, i64 go_k, const float* coordinates,
                                                   i64 x_n, i64 x_k, const float* features, i64 e_n, i64 e_k, i64 n,
                                                   const float* params, float frequency, float* grad_coordinates,
                                                   i64 gx_n, i64 gx_k, float* grad_features, i64 ge_n, i64 ge_k,
                                                   float* partials, float* scratch) {
    __shared__ __align__(16) float staging[Gemm::kStaging];
    float* sum = scratch + i64(blockIdx.x) * (kGrid + 3 * N_HIDDEN * kHidden);
    float* values = sum + kGrid;
    float* by_z = values + N_HIDDEN * kHidden; // dh/dz, then the gradient of z in its place
    float* by_v = by_z + N_HIDDEN * kHidden;
    float* partial = partials ? partials + blockIdx.x * kShape.offset(kShape.n_maps()) : nullptr;
    const Sine sine{frequency};
    for (i64 first = i64(blockIdx.x) * kTile; first < n; first += i64(gridDim.x) * kTile) {
        const int count = Gemm::count_at(first, n);
        const Inputs in{coordinates, x_n, x_k, features, e_n, e_k, n, first, count};
        add_grids(in, sum);
        for (int l = 0; l < N_HIDDEN; ++l) {
            float *h = values + l * kHidden, *z = by_z + l * kHidden, *v = by_v + l * kHidden;
            hidden_layer(staging, params, l, l ? h - kHidden : sum, in, z, v);
            Gemm::each(WIDTH, [&](int i) {
                const auto of = modulated_sine::neuron(sine, z[i], v[i]);
                h[i] = of.value;
                z[i] = of.by_z;
                v[i] = of.by_v;
            });
        }
        const Matrix upstream{grad_out, go_n, go_k, first, count};
        if (partial)
            Gemm::add_gradient(staging, kShape, 2 * N_HIDDEN, count, true, upstream,
                               Block{values + (N_HIDDEN - 1) * kHidden}, partial);
        for (int l = N_HIDDEN - 1; l >= 0; --l) {
            float *gz = by_z + l * kHidden, *gv = by_v + l * kHidden;
            const auto chain = [&](int r, int c, float to_h) {
                gz[r * kTile + c] *= to_h;
                gv[r * kTile + c] *= to_h;
            };
            if (l == N_HIDDEN - 1) Gemm::transposed(staging, kShape, params, 2 * l + 2, upstream, chain);
            else Gemm::transposed(staging, kShape, params, 2 * l + 2, Block{gz + kHidden}, chain);
            const Matrix by = l == 0 ? in.coordinates() : in.grid(kShape.grid_of(l));
            if (partial) {
                Gemm::add_gradient(staging, kShape, 2 * l, count, true, Block{gz},
                                   Block{l ? values + (l - 1) * kHidden : sum}, partial);
                Gemm::add_gradient(staging, kShape, 2 * l + 1, count, true, Block{gv}, by, partial);
            }
        }
        if (grad_coordinates)
            Gemm::transposed(staging, kShape, params, 1, Block{by_v}, [&](int r, int c, float value) {
                if (c < count) grad_coordinates[(first + c) * gx_n + r * gx_k] = value;
            });
        if (grad_features) { // what the sum passes on, then what each modulated layer adds
            Gemm::transposed(staging, kShape, params, 0, Block{by_z}, [&](int r, int c, float value) {
                for (int g = 0; g < N_GRIDS && c < count; ++g)
                    grad_features[(g * n + first + c) * ge_n + r * ge_k] = value;
            });
            for (int l = 1; l < N_HIDDEN; ++l)
                Gemm::transposed(staging, kShape, params, 2 * l + 1, Block{by_v + l * kHidden},
                                 [&](int r, int c, float value) {
                    if (c < count) grad_features[(kShape.grid_of(l) * n + first + c) * ge_n + r * ge_k] += value;
                });
        }
        __syncthreads(); // the next tile writes what the bias sums read
    }
}

extern "C" __global__ void modulated_sine_reduce(const float* partials, i64 n_rows, float* grad, i64 accumulate) {
    tiles::reduce(partials, n_rows, kShape.offset(kShape.n_maps()), grad, accumulate);
}
