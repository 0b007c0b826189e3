// Blending on the CPU, column by column within chunks of points. The sort is stable, so that a chunk's pairs are read and
// written in as many ascending streams as there are cells, whole lines at a time; in the order of pairs a chunk would
// touch a line of its own for every point.
#include "cell_blend.h"
#include "common/simd.h"
#include "common/threads.h"

namespace neural {
namespace NEURAL_ISA {
namespace {

constexpr i64 kChunk = 4096; // rows per task

template <class Task> void for_each_chunk(i64 n, int n_threads, const Task& task) {
    parallel_for((n + kChunk - 1) / kChunk, n_threads, [&](i64 chunk) {
        task(chunk * kChunk, (chunk + 1) * kChunk < n ? (chunk + 1) * kChunk : n);
    });
}

// Lane i = column[at[i]], 0 where at[i] is negative.
NEURAL_HD vfloat gather(const float* column, vint at) {
#if defined(__AVX512F__)
    return (vfloat)_mm512_mask_i32gather_ps(_mm512_setzero_ps(), _mm512_movepi32_mask(~(__m512i)at), (__m512i)at, column, 4);
#elif defined(__AVX2__)
    return (vfloat)_mm256_mask_i32gather_ps(_mm256_setzero_ps(), column, (__m256i)at, (__m256)~at, 4);
#else
    vfloat v;
    for (int i = 0; i < kWidth; ++i) v[i] = at[i] >= 0 ? column[at[i]] : 0.0f;
    return v;
#endif
}

NEURAL_HD vint load_indices(const i32* p) {
    vint v;
    __builtin_memcpy(&v, p, sizeof(v));
    return v;
}

} // namespace

i64 cell_blend_check(const i32* places, i64 n_entries, const i32* order, i64 n_pairs) {
    i64 used = 0;
    bool sound = true;
    for (i64 e = 0; e < n_entries; ++e) {
        used += places[e] >= 0;
        sound &= places[e] < n_pairs;
    }
    for (i64 p = 0; p < n_pairs && sound; ++p) sound = order[p] >= 0 && order[p] < n_entries && places[order[p]] == p;
    return sound && used == n_pairs;
}

void cell_blend_forward(const float* features, i64 feat_n, i64 feat_k, i64 n_features, const i32* places,
                        const float* weights, i64 n_points, i64 slots, float* out, i64 out_n, i64 out_k, int n_threads) {
    for_each_chunk(n_points, n_threads, [&](i64 begin, i64 end) {
        for (i64 k = 0; k < n_features; ++k) {
            const float* column = features + k * feat_k;
            float* to = out + k * out_k;
            if (slots == 1 && !weights) {
                i64 n = begin;
                if (feat_n == 1 && out_n == 1)
                    for (; n + kWidth <= end; n += kWidth) store(to + n, gather(column, load_indices(places + n)));
                for (; n < end; ++n) to[n * out_n] = places[n] >= 0 ? column[places[n] * feat_n] : 0.0f;
                continue;
            }
            for (i64 n = begin; n < end; ++n) {
                float sum = 0.0f;
                for (i64 e = n * slots; e < (n + 1) * slots; ++e)
                    if (places[e] >= 0) sum += (weights ? weights[e] : 1.0f) * column[places[e] * feat_n];
                to[n * out_n] = sum;
            }
        }
    });
}

void cell_blend_backward_features(const float* grad, i64 grad_n, i64 grad_k, i64 n_features, const i32* places,
                                  const float* weights, i64 n_points, i64 slots, float* out, i64 out_n, i64 out_k,
                                  int n_threads) {
    for_each_chunk(n_points, n_threads, [&](i64 begin, i64 end) {
        for (i64 k = 0; k < n_features; ++k) {
            const float* column = grad + k * grad_k;
            float* to = out + k * out_k;
            for (i64 n = begin; n < end; ++n) {
                const float g = column[n * grad_n];
                for (i64 e = n * slots; e < (n + 1) * slots; ++e)
                    if (places[e] >= 0) to[places[e] * out_n] = weights ? weights[e] * g : g;
            }
        }
    });
}

void cell_blend_backward_weights(const float* grad, i64 grad_n, i64 grad_k, const float* features, i64 feat_n,
                                 i64 feat_k, i64 n_features, const i32* places, i64 n_points, i64 slots, float* out,
                                 int n_threads) {
    for_each_chunk(n_points, n_threads, [&](i64 begin, i64 end) {
        for (i64 e = begin * slots; e < end * slots; ++e) out[e] = 0.0f;
        for (i64 k = 0; k < n_features; ++k) {
            const float* column = features + k * feat_k;
            for (i64 n = begin; n < end; ++n) {
                const float g = grad[n * grad_n + k * grad_k];
                for (i64 e = n * slots; e < (n + 1) * slots; ++e)
                    if (places[e] >= 0) out[e] += g * column[places[e] * feat_n];
            }
        }
    });
}

} // namespace NEURAL_ISA
} // namespace neural
