// The fused renderer on a GPU: a thread takes one ray after the other, marches it, and runs the field's stages on each
// sample in registers, local memory and the block's copy of the networks. Written from the list of stages (stages.py):
//   STAGES          calls of the functions below, in order, on a sample's `rows`
//   LOAD_NETWORKS   calls of `load`, which give every network its place in shared memory
//   N_ROWS, DENSITY_ROW, RGB_ROW, N_NETWORKS; DIMS .. TABLE_DTYPE of hash_grid_lookup.cuh; CONE of ray_thread.cuh
// Rays, grid and settings as in ray_march.h. A ray that ends makes place for the thread's next one at once, so that
// the threads of a warp go on together.
#include "composite.cuh"
#include "hash_grid_lookup.cuh"
#include "mlp.cuh"
#include "ray_points.cuh"
#include "ray_thread.cuh"
#include "spherical_harmonics.cuh"

using namespace neural;

namespace {

constexpr int kThreads = 128; // also in fused.py

struct Math {
    static __device__ float exp(float v) { return expf(v); }
    static __device__ float log(float v) { return logf(v); }
    static __device__ void sincos(float v, float& s, float& c) {
        s = sinf(v);
        c = cosf(v);
    }
};

struct Tables { // of the encoding
    const void* table;
    const i64* levels;
    const float* level_weights;
};

__device__ float number(u32 bits) { return __int_as_float(int(bits)); }

// A network's parameters into shared memory; the place behind them.
__device__ float* load(float* to, const float* params, int n) {
    for (int i = int(threadIdx.x); i < n; i += kThreads) to[i] = params[i];
    return to + n;
}

template <int In, int Out, int Ball> __device__ void unit_cube(float* rows, u32 scale_bits) {
    const float scale = number(scale_bits);
    float factor = scale;
    float p[3];
    for (int i = 0; i < 3; ++i) p[i] = rows[In + i];
    if (Ball) {
        for (int i = 0; i < 3; ++i) p[i] *= 2.0f * scale;
        const float norm = sqrtf(p[0] * p[0] + p[1] * p[1] + p[2] * p[2]);
        const float inverse = 1.0f / fmaxf(norm, 1e-12f);
        factor = norm <= 1.0f ? 0.25f : 0.25f * (2.0f - inverse) * inverse;
    }
    for (int i = 0; i < 3; ++i) rows[Out + i] = 0.5f + p[i] * factor;
}

template <int In, int Out, int Levels> __device__ void hash_grid(float* rows, const Tables& tables) {
    for (int l = 0; l < Levels; ++l) {
        const float weight = tables.level_weights ? tables.level_weights[l] : 1.0f;
        float sum[FEATURES] = {};
        float scale = 0.0f;
        if (weight != 0.0f) {
            const Level level = grid::read_level<DIMS>(tables.levels + l * grid::kRowLength<DIMS>);
            Axis axes[DIMS];
            scale = weight * locate(rows + In, 1, level, axes);
#pragma unroll kUnroll
            for (int c = 0; c < kCorners; ++c) {
                float values[FEATURES];
                read_entry(tables.table, corner_index(axes, level, c), values);
                const float w = grid::corner_weight<DIMS>(axes, c);
                for (int f = 0; f < FEATURES; ++f) sum[f] += w * values[f];
            }
        }
        for (int f = 0; f < FEATURES; ++f) rows[Out + l * FEATURES + f] = sum[f] * scale;
    }
}

// out = phi(W in + b); the inputs are in registers, so rows of W are read once for all threads of a warp.
template <int N_In, int N_Out, int Bias, int Act>
__device__ void layer(const float* in, const float* w, float frequency, float* out) {
    float a[N_In];
    NEURAL_UNROLL
    for (int k = 0; k < N_In; ++k) a[k] = in[k];
#pragma unroll 1
    for (int r = 0; r < N_Out; ++r) {
        float sum = Bias ? w[N_Out * N_In + r] : 0.0f;
#pragma unroll
        for (int k = 0; k < N_In; ++k) sum += w[r * N_In + k] * a[k];
        out[r] = mlp::activate<Act, Math>(sum, frequency).value;
    }
}

template <int In, int N_In, int Out, int N_Out, int Width, int Hidden, int Bias, int Act, int Output_Act>
__device__ void network(float* rows, const float* w, u32 frequency_bits) {
    const float frequency = number(frequency_bits);
    float even[Width], odd[Width];
    layer<N_In, Width, Bias, Act>(rows + In, w, frequency, even);
    w += Width * (N_In + Bias);
#pragma unroll 1
    for (int l = 1; l < Hidden; ++l, w += Width * (Width + Bias)) {
        layer<Width, Width, Bias, Act>(l % 2 ? even : odd, w, frequency, l % 2 ? odd : even);
    }
    layer<Width, N_Out, Bias, Output_Act>(Hidden % 2 ? even : odd, w, frequency, rows + Out);
}

template <int In, int Out, int Softplus> __device__ void density(float* rows, u32 bias_bits, u32 factor_bits) {
    const float raw = rows[In] + number(bias_bits);
    const float active = Softplus ? mlp::activate<mlp::kSoftplus, Math>(raw, 0.0f).value : expf(raw);
    rows[Out] = active * number(factor_bits);
}

template <int In, int Out, int Degree> __device__ void directions(float* rows) {
    sh::evaluate<Degree>(rows[In], rows[In + 1], rows[In + 2], [&](int k, float value) { rows[Out + k] = value; });
}

// What a thread knows of its ray.
struct Path {
    march::Ray<Thread> ray;
    float origin[3], direction[3];
    float k, until;  // lattice index of the next sample, and where its run of samples ends
    float light, rgb[3], alpha, depth;
    i64 looked_up;
    bool nan;
};

} // namespace

// gridDim.x blocks of kThreads share the rays. Shared memory: all parameters of the networks.
extern "C" __global__ void __launch_bounds__(128)
    fused_forward(const float* origins, i64 on, i64 ok, const float* directions_, i64 dn, i64 dk, const float* t_min,
                  const float* t_max, const float* jitter, i64 n, const float* settings, i64 n_cascades, i64 resolution,
                  const u8* bitfield, const float* spans, const void* table, const i64* levels,
                  const float* level_weights, const float* params_0, const float* params_1, float early_stop, float* rgb,
                  float* alpha, float* depth, i64* counts, i64* broken) {
    extern __shared__ float weights[];
    const float* networks[N_NETWORKS];
    {
        float* to = weights;
        LOAD_NETWORKS
    }
    __syncthreads();
    const march::Grid grid{settings, int(n_cascades), int(resolution)};
    const Thread machine{reinterpret_cast<const u64*>(bitfield)};
    const Tables tables{table, levels, level_weights};
    const i64 step = i64(gridDim.x) * kThreads;
    Path p;
    bool fresh = true;
    for (i64 r = i64(blockIdx.x) * kThreads + threadIdx.x; r < n;) {
        if (fresh) {
            const float* o = origins + r * on;
            const float* d = directions_ + r * dn;
            for (int i = 0; i < 3; ++i) {
                p.origin[i] = o[i * ok];
                p.direction[i] = d[i * dk];
                p.rgb[i] = 0.0f;
            }
            p.k = enter(grid, o, ok, d, dk, jitter ? jitter[r] : 0.0f, t_min[r], t_max[r], p.ray);
            if (spans) p.k = spans[r];
            p.until = p.k;
            p.light = 1.0f;
            p.alpha = p.depth = 0.0f;
            p.looked_up = 0;
            p.nan = fresh = false;
        }
        bool found = p.k < p.until;
        while (!found) { // to the next run of samples, or the end
            float next;
            int filled;
            if (!march::visit<Thread, CONE>(grid, machine, p.ray, p.k, next, filled)) break;
            if (filled) p.until = next;
            else p.k = next;
            found = filled != 0;
        }
        if (found) {
            const float start = march::depth<Thread, CONE>(settings, p.k + p.ray.jitter);
            const float end = march::depth<Thread, CONE>(settings, p.k + p.ray.jitter + 1.0f);
            const float middle = ray_points::middle(start, end);
            float rows[N_ROWS];
            for (int i = 0; i < 3; ++i) {
                rows[i] = p.origin[i] + middle * p.direction[i];
                rows[3 + i] = p.direction[i];
            }
            STAGES
            const float opacity = composite::opacity(rows[DENSITY_ROW], end - start, [](float v) { return expm1f(v); });
            ++p.looked_up;
            p.k += 1.0f;
            if (opacity >= 0.0f) { // a NaN cannot be seen
                const float w = p.light * opacity;
                for (int i = 0; i < 3; ++i) p.rgb[i] += w * rows[RGB_ROW + i];
                p.alpha += w;
                p.depth += w * middle;
            } else {
                p.nan = true;
            }
            p.light *= 1.0f - opacity;
        }
        if (found && p.light >= early_stop) continue;
        for (int i = 0; i < 3; ++i) rgb[3 * r + i] = p.rgb[i];
        alpha[r] = p.alpha;
        depth[r] = p.depth;
        counts[2 * r] = p.looked_up;
        counts[2 * r + 1] = p.looked_up - p.nan;
        if (p.nan) atomicAdd(reinterpret_cast<unsigned long long*>(broken), 1ull);
        fresh = true;
        r += step;
    }
}
