// Adam on the CPU: bound by memory, so everything that a step touches is read and written once. Tasks are the rows of
// one word of touched bits; lazy rows are handled in blocks of 64, first their step counts, then their elements.
#include "adam.h"
#include "adam.cuh"
#include "common/half.cuh"
#include "common/scan.h"
#include "common/threads.h"

namespace neural {
namespace NEURAL_ISA {
namespace {

using adam::kBlockRows;
using adam::kWordRows;
using adam::Settings;

struct Sqrt {
    NEURAL_HD vfloat operator()(vfloat v) const { return sqrt(v); }
};
struct Expm1 {
    NEURAL_HD vfloat operator()(vfloat v) const { return expm1(v); }
};

struct State {
    float *param, *grad, *exp_avg, *exp_avg_sq;
    u16* copy;
    int copy_kind;
    float* ema;
    bool clear_grad;
};

typedef u16 vhalf __attribute__((vector_size(2 * kWidth)));

NEURAL_HD vhalf rounded(vfloat v, int kind) {
    vhalf h;
    if (kind == adam::kBf16) {
        const vuint bits = (vuint)v;
        const vuint even = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
        return __builtin_convertvector(v == v ? even : (bits >> 16) | 0x40u, vhalf);
    }
#if defined(__AVX512F__)
    h = (vhalf)_mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT);
#elif defined(__F16C__)
    h = (vhalf)_mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT);
#else
    for (int i = 0; i < kWidth; ++i) h[i] = to_fp16(v[i]);
#endif
    return h;
}

// Updates `count` elements from `at` on where `live`; returns the mask of Inf and NaN gradients (-1 per lane).
NEURAL_HD vint elements(const State& state, const Settings& s, i64 at, i64 count, vfloat rate, vfloat inv_root,
                        vint live, vfloat catch_up) {
    const vfloat grad = load_first(state.grad + at, count);
    const vint finite = grad - grad == 0.0f;
    const vint active = live; // rows that step, and whose average moves
    live &= finite;
    vfloat p = load_first(state.param + at, count), m = load_first(state.exp_avg + at, count),
           v = load_first(state.exp_avg_sq + at, count);
    const vfloat p0 = p, m0 = m, v0 = v;
    adam::update(s, rate, inv_root, grad, p, m, v, Sqrt{});
    p = live ? p : p0;
    store_first(state.param + at, p, count);
    store_first(state.exp_avg + at, live ? m : m0, count);
    store_first(state.exp_avg_sq + at, live ? v : v0, count);
    if (state.clear_grad) store_first(state.grad + at, vfloat{}, count);
    if (state.copy_kind) {
        const vhalf h = rounded(p, state.copy_kind);
        __builtin_memcpy(state.copy + at, &h, 2 * (count < kWidth ? count : i64(kWidth)));
    }
    if (state.ema) {
        const vfloat old = load_first(state.ema + at, count);
        const vfloat moved = (p0 + catch_up * (old - p0)) * s.ema + p * s.ema_rest;
        store_first(state.ema + at, active ? moved : old, count);
    }
    return ~finite;
}

NEURAL_HD i32 ones(vint mask) { // lanes that are -1
    i32 total = 0;
    for (int i = 0; i < kWidth; ++i) total -= mask[i];
    return total;
}

i32 dense(const State& state, const Settings& s, i64 begin, i64 end) {
    vint bad{};
    for (i64 i = begin; i < end; i += kWidth)
        bad += elements(state, s, i, end - i, splat(s.rate), splat(s.inv_root), ~vint{}, splat(1.0f));
    return ones(bad);
}

NEURAL_HD vint load_rows(const i32* p, i64 count) {
    vint v{};
    if (count >= kWidth) __builtin_memcpy(&v, p, sizeof(v));
    else
        for (i64 i = 0; i < count; ++i) v[i] = p[i];
    return v;
}
NEURAL_HD void store_rows(i32* p, vint v, i64 count) {
    if (count >= kWidth) __builtin_memcpy(p, &v, sizeof(v));
    else
        for (i64 i = 0; i < count; ++i) p[i] = v[i];
}

// Lane l takes rows[l / F]; reads kWidth of them.
template <int F> NEURAL_HD vfloat spread(const float* rows) {
    if constexpr (F == 1) return load(rows);
#if defined(__AVX512F__)
    return (vfloat)_mm512_permutexvar_ps((__m512i)(lane_indices() / F), (__m512)load(rows));
#elif defined(__AVX2__)
    return (vfloat)_mm256_permutevar8x32_ps((__m256)load(rows), (__m256i)(lane_indices() / F));
#else
    vfloat v;
    for (int i = 0; i < kWidth; ++i) v[i] = rows[i / F];
    return v;
#endif
}

// What each row of a block steps by; padded so that whole vectors can be read at its end.
struct BlockScales {
    alignas(64) float rate[kBlockRows + kWidth], inv_root[kBlockRows + kWidth]; // inv_root 0: no gradient
    alignas(64) float catch_up[kBlockRows + kWidth];
};

// Counts the step of the rows that have a gradient (has != 0) and works out their scales.
NEURAL_HD void count_rows(const Settings& s, const i32* has, i64 rows, i64 step, i32* row_steps, i32* ema_steps,
                          BlockScales& scales) {
    for (i64 r = 0; r < rows; r += kWidth) {
        const vint live = load_rows(has + r, rows - r) != 0;
        if (!any(live)) { // nor are their counts read
            store(scales.inv_root + r, vfloat{});
            continue;
        }
        const vint t = load_rows(row_steps + r, rows - r) - live;
        store_rows(row_steps + r, t, rows - r);
        vfloat rate, inv_root;
        adam::row_scales(s, to_float(t > 0 ? t : splat(1)), rate, inv_root, Expm1{}, Sqrt{});
        store(scales.rate + r, rate);
        store(scales.inv_root + r, live ? inv_root : splat(0.0f));
        if (ema_steps) {
            const vint at = load_rows(ema_steps + r, rows - r);
            const vint since = i32(step) - 1 - at;
            store(scales.catch_up + r, exp(to_float(since) * s.log_ema)); // rows without gradient do not use it
            store_rows(ema_steps + r, live ? splat(i32(step)) : at, rows - r);
        } else {
            store(scales.catch_up + r, splat(1.0f));
        }
    }
}

typedef u32 __attribute__((may_alias)) Bits; // of a float

// Asks for the values of rows that have a gradient, a cache line of each array at a time.
template <int F> NEURAL_HD void prefetch_live(const State& state, i64 at, i64 rows, const i32* has) {
    constexpr i64 line = 16 / F;
    for (i64 r = 0; r < rows; r += line) {
        i32 live = 0;
        for (i64 i = r; i < r + line && i < rows; ++i) live |= has[i];
        if (!live) continue;
        const float* const arrays[] = {state.param, state.exp_avg, state.exp_avg_sq};
        for (const float* array : arrays) __builtin_prefetch(array + at + r * F, 1);
    }
}

// F > 0 is the number of features of a row (1, 2, 4, 8); F = 0 takes any number, one row after the other.
template <int F>
i32 lazy_block(const State& state, const Settings& s, i64 row, i64 rows, i64 n_features, i64 step, i32* row_steps,
               i32* ema_steps) {
    const i64 features = F > 0 ? F : n_features;
    const Bits* grad = (const Bits*)state.grad + row * features;
    alignas(64) i32 has[kBlockRows]; // not 0 where a row has a gradient: its bits without the signs
    u32 all = 0;
    for (i64 r = 0; r < rows; ++r) {
        u32 bits = 0;
        for (i64 f = 0; f < features; ++f) bits |= grad[r * features + f] << 1;
        has[r] = i32(bits);
        all |= bits;
    }
    if (!all) return 0;
    if constexpr (F > 0) prefetch_live<F>(state, row * F, rows, has);
    BlockScales scales;
    count_rows(s, has, rows, step, row_steps + row, ema_steps ? ema_steps + row : nullptr, scales);

    vint bad{};
    if constexpr (F > 0) {
        for (i64 i = 0; i < rows * F; i += kWidth) {
            const vfloat inv_root = spread<F>(scales.inv_root + i / F);
            if (!any(inv_root > 0.0f)) continue; // most of a block, where a table is large against the batch
            bad += elements(state, s, row * F + i, rows * F - i, spread<F>(scales.rate + i / F), inv_root,
                            inv_root > 0.0f, spread<F>(scales.catch_up + i / F));
        }
    } else {
        for (i64 r = 0; r < rows; ++r)
            for (i64 i = 0; i < features && has[r]; i += kWidth)
                bad += elements(state, s, (row + r) * features + i, features - i, splat(scales.rate[r]),
                                splat(scales.inv_root[r]), ~vint{}, splat(scales.catch_up[r]));
    }
    return ones(bad);
}

// Asks for the gradient of the block that comes next: touched blocks are too far apart for the hardware to foresee.
NEURAL_HD void prefetch_block(const State& state, i64 at, i64 n_features) {
    for (i64 i = 0; i < kBlockRows * (n_features < 8 ? n_features : 8); i += 16) __builtin_prefetch(state.grad + at + i);
}

// The state with a gradient that row `row` of the block can be read from as if all rows were there.
NEURAL_HD State placed(State state, const i32* places, i64 row, i64 n_features) {
    if (places) state.grad += (i64(places[row / kBlockRows]) * kBlockRows - row) * n_features;
    return state;
}

template <class Visit> void with_features(i64 n_features, const Visit& visit) {
    switch (n_features) {
    case 1: return visit(Constant<1>{});
    case 2: return visit(Constant<2>{});
    case 4: return visit(Constant<4>{});
    case 8: return visit(Constant<8>{});
    default: return visit(Constant<0>{});
    }
}

} // namespace

void adam_step(float* param, float* grad, float* exp_avg, float* exp_avg_sq, i64 n_rows, i64 n_features, i64 step,
               i32* row_steps, i64* touched, const i32* places, u16* copy, int copy_kind, float* ema, i32* ema_steps, i32* nonfinite,
               int clear_grad, float rate, float inv_root, float beta1, float rest1, float log1, float beta2,
               float rest2, float log2, float eps, float l2, float keep, float grad_scale, float ema_decay,
               float ema_rest, float log_ema, int n_threads) {
    const Settings s{rate, inv_root, beta1, rest1, log1, beta2, rest2, log2, eps, l2, keep, grad_scale, ema_decay,
                     ema_rest, log_ema};
    const State state{param, grad, exp_avg, exp_avg_sq, copy, copy_kind, ema, clear_grad != 0};
    parallel_for((n_rows + kWordRows - 1) / kWordRows, n_threads, [&](i64 word) {
        const i64 begin = word * kWordRows, end = n_rows < begin + kWordRows ? n_rows : begin + kWordRows;
        i32 bad = 0;
        if (!row_steps) {
            bad = dense(state, s, begin * n_features, end * n_features);
        } else {
            u64 bits = touched ? u64(touched[word]) : ~u64(0);
            const i64 blocks = (end - begin + kBlockRows - 1) / kBlockRows;
            if (blocks < 64) bits &= (u64(1) << blocks) - 1;
            with_features(n_features, [&](auto f) {
                while (bits) {
                    const i64 row = begin + __builtin_ctzll(bits) * kBlockRows;
                    bits &= bits - 1;
                    if (touched && bits) {
                        const i64 next = begin + __builtin_ctzll(bits) * kBlockRows;
                        prefetch_block(placed(state, places, next, n_features), next * n_features, n_features);
                    }
                    bad += lazy_block<decltype(f)::value>(placed(state, places, row, n_features), s, row, end - row < kBlockRows ? end - row : kBlockRows,
                                                          n_features, step, row_steps, ema_steps);
                }
            });
            if (touched) touched[word] = 0;
        }
        if (bad && nonfinite) __atomic_fetch_add(nonfinite, bad, __ATOMIC_RELAXED);
    });
}

} // namespace NEURAL_ISA
} // namespace neural
