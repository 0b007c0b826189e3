// Hash grid with learned probing on the CPU, a vector of points at a time; the order of work is common/lattice.h's.
#include "probed_grid.h"
#include "grid_corners.h"
#include "probed_grid.cuh"

namespace neural {
namespace NEURAL_ISA {
namespace {

template <int D> constexpr int kCorners = 1 << D;

struct Books {
    int n;
    probe::Book book;
    const u8* codes;

    // Codebook of a level, -1 of a dense one.
    int of(int level, int n_levels) const { return level - (n_levels - n); }
    const u8* codes_of(int level, int n_levels) const {
        const int i = of(level, n_levels);
        return i < 0 ? nullptr : codes + (i64(i) << book.log2_codes);
    }
};

// codes[place[i]] in each lane: words of four codes, since there is no gather of bytes.
NEURAL_HD vuint gather_codes(const u8* codes, vuint place) {
#if defined(__AVX512F__)
    const vuint words = (vuint)_mm512_i32gather_epi32((__m512i)(place >> 2u), codes, 4);
    return (words >> ((place & 3u) * 8u)) & 255u;
#elif defined(__AVX2__)
    const vuint words = (vuint)_mm256_i32gather_epi32((const int*)codes, (__m256i)(place >> 2u), 4);
    return (words >> ((place & 3u) * 8u)) & 255u;
#else
    vuint code;
    for (int i = 0; i < kWidth; ++i) code[i] = codes[place[i]];
    return code;
#endif
}

// Index in its level of the entry that a corner uses; without codes the level is dense.
template <int D>
NEURAL_HD vuint entry_index(const Axis* axes, const grid::Level<D>& level, const u8* codes, probe::Book book, int c) {
    if (!codes) return wrap(grid::corner_key<D>(axes, level, c), level);
    return probe::block_start<D>(axes, level, book, c) + gather_codes(codes, probe::code_place<D>(axes, book, c));
}

template <int D> struct ProbedCorners {
    static constexpr bool kCurved = true;
    const Books& books;

    int n_vertices(const Grid& g) const { return g.form == grid::kNearest ? 1 : kCorners<D>; }
    bool flat(const Grid& g) const { return g.form == grid::kNearest; }

    NEURAL_HD vfloat find(const Grid& g, const grid::Level<D>& level, int l, i64 n, int count, const Rows* direction,
                          u32* index, float* weight) const {
        const u8* codes = books.codes_of(l, g.n_levels);
        Axis axes[D];
        const vfloat scale = locate<D>(g, level, n, count, axes);
        for (int c = 0; c < n_vertices(g); ++c) put(index + c * kWidth, entry_index<D>(axes, level, codes, books.book, c));
        if (flat(g)) store(weight, grid::corner_weight<D>(axes, 0));
        else if (direction) directional_weights<D>(axes, *direction, n, count, weight);
        else corner_weights<D>(axes, weight);
        return scale;
    }
    NEURAL_HD void gradient(const Grid& g, const grid::Level<D>& level, int, i64 n, int count, const Rows* direction,
                            const float* dots, vfloat* sums) const {
        Axis axes[D];
        locate<D>(g, level, n, count, axes);
        corner_gradient<D>(axes, n, count, direction, dots, sums);
    }
};

// The blocks of a level, of P entries each, and their probabilities, all from the first on.
struct Blocks {
    const float *entries, *probabilities;
    float *grad_entries, *grad_probabilities;
};

// Lane by lane, for each entry of a block: its gradient += p up, that of its probability += <up, entry>.
template <int F, int P>
NEURAL_HD void add_to_blocks(const Blocks& blocks, vuint start, vuint place, const vfloat* up, int count) {
    alignas(64) u32 starts[kWidth], places[kWidth];
    alignas(64) float ups[F][kWidth];
    __builtin_memcpy(starts, &start, sizeof(start));
    __builtin_memcpy(places, &place, sizeof(place));
    for (int f = 0; f < F; ++f) store(ups[f], up[f]);
    for (int i = 0; i < count; ++i) {
        const i64 entry = i64(starts[i]) * F, row = i64(places[i]) * P;
        float entries[P * F], p[P]; // read before anything is written: what is at equal places of other pages would wait
        __builtin_memcpy(entries, blocks.entries + entry, sizeof(entries));
        __builtin_memcpy(p, blocks.probabilities + row, sizeof(p));
        float* __restrict grad_entries = blocks.grad_entries + entry;
        float* __restrict grad_p = blocks.grad_probabilities + row;
        for (int k = 0; k < P; ++k) {
            float dot = ups[0][i] * entries[k * F];
            for (int f = 1; f < F; ++f) dot += ups[f][i] * entries[k * F + f];
            grad_p[k] += dot;
        }
        for (int k = 0; k < P; ++k)
            for (int f = 0; f < F; ++f) grad_entries[k * F + f] += p[k] * ups[f][i];
    }
}
template <int F>
NEURAL_HD void add_to_blocks(int log2_probes, const Blocks& blocks, vuint start, vuint place, const vfloat* up, int count) {
    if (log2_probes == 1) add_to_blocks<F, 2>(blocks, start, place, up, count);
    else if (log2_probes == 2) add_to_blocks<F, 4>(blocks, start, place, up, count);
    else if (log2_probes == 3) add_to_blocks<F, 8>(blocks, start, place, up, count);
    else add_to_blocks<F, 16>(blocks, start, place, up, count);
}

template <int D, int F>
void add_to_table(const Grid& g, const Books& books, const float* table, const float* probabilities, Rows grad,
                    Rows direction, float* grad_table, u64* touched, float* grad_probabilities, int n_threads) {
    const int n_probes = 1 << books.book.log2_probes;
    if (direction.data && g.form == grid::kNearest) return; // constant in pieces
    by_owners<D, F>(g, grad_table, touched, kCorners<D> * n_probes, n_threads,
                    [&](int l, const Span& span, float* base, Marks& marks) {
        const auto level = g.level<D>(span.table, l);
        const int book = books.of(l, g.n_levels);
        const i64 first = i64(book < 0 ? 0 : book) << (books.book.log2_codes + books.book.log2_probes);
        const Blocks blocks{table + level.offset * F, probabilities + first, base, grad_probabilities + first};
        const float weight = g.weight(l);
        const int corners = g.form == grid::kNearest ? 1 : kCorners<D>;
        for (i64 n = span.first; n < span.last; n += kWidth) {
            const int count = lanes(n, span.last);
            Axis axes[D];
            vfloat v[D], up[F];
            const vfloat scale = locate<D>(g, level, n, count, axes) * weight;
            for (int d = 0; direction.data && d < D; ++d) v[d] = direction.load_lanes(n, d, count);
            for (int f = 0; f < F; ++f) up[f] = grad.load_lanes(n, l * F + f, count) * scale; // 0 past the end
            for (int c = 0; c < corners; ++c) {
                const vfloat w = direction.data ? grid::directional<D>(axes, c, v) : grid::corner_weight<D>(axes, c);
                vfloat add[F];
                for (int f = 0; f < F; ++f) add[f] = w * up[f];
                if (book < 0) {
                    alignas(64) u32 index[kWidth];
                    put(index, wrap(grid::corner_key<D>(axes, level, c), level));
                    for (int i = 0; i < count; ++i)
                        for (int f = 0; f < F; ++f) base[u64(index[i]) * F + f] += add[f][i];
                    if (marks.blocks) marks.add(index, level.offset, count);
                    continue;
                }
                const vuint start = probe::block_start<D>(axes, level, books.book, c);
                const vuint place = probe::code_place<D>(axes, books.book, c);
                add_to_blocks<F>(books.book.log2_probes, blocks, start, place, add, count);
                if (marks.blocks) { // a block may lie across two runs of 64
                    alignas(64) u32 index[kWidth];
                    put(index, start);
                    marks.add(index, level.offset, count);
                    put(index, start + u32(n_probes - 1));
                    marks.add(index, level.offset, count);
                }
            }
        }
    });
}

// Calls visit(Constant<D>, Constant<F>), D at most kMaxDims.
template <int D = 1, class Visit> void with_probed_shape(int n_dims, int n_features, const Visit& visit) {
    if constexpr (D <= probe::kMaxDims) {
        if (n_dims == D) with_features<D>(n_features, visit);
        else with_probed_shape<D + 1>(n_dims, n_features, visit);
    }
}

// The grid of one sub-table; `bounds` are those of its points.
Grid grid_of(const Turned& turned, const i64* levels, const i64 (&bounds)[2], int n_levels, const float* level_weights,
             int interpolation, int outside) {
    return {turned.rows, levels, bounds, 1, n_levels, level_weights, interpolation, outside};
}

} // namespace

void probed_grid_forward(const float* positions, i64 pos_n, i64 pos_k, const float* table, const u8* codes,
                         i64 n_points, const i64* levels, int n_levels, int n_dims, int n_features, int n_books,
                         int log2_codes, int log2_probes, const float* level_weights, int interpolation, int outside,
                         float* features, i64 feat_n, i64 feat_k, int n_threads) {
    const i64 bounds[2] = {0, n_points};
    const Turned turned({positions, pos_n, pos_k}, n_points, n_dims, n_threads);
    const Grid g = grid_of(turned, levels, bounds, n_levels, level_weights, interpolation, outside);
    const Books books{n_books, {log2_codes, log2_probes}, codes};
    with_probed_shape(n_dims, n_features, [&](auto d, auto f) {
        constexpr int D = decltype(d)::value;
        forward<D, decltype(f)::value>(ProbedCorners<D>{books}, g, table, 0, nullptr, {features, feat_n, feat_k}, n_threads);
    });
}

void probed_grid_backward_table(const float* positions, i64 pos_n, i64 pos_k, const float* table,
                                const float* probabilities, const float* grad, i64 grad_n, i64 grad_k,
                                const float* direction, i64 dir_n, i64 dir_k, i64 n_points, const i64* levels,
                                int n_levels, int n_dims, int n_features, int n_books, int log2_codes, int log2_probes,
                                const float* level_weights, int interpolation, int outside, float* grad_table,
                                u64* touched, float* grad_probabilities, int n_threads) {
    const i64 bounds[2] = {0, n_points};
    const Turned turned({positions, pos_n, pos_k}, n_points, n_dims, n_threads);
    const Grid g = grid_of(turned, levels, bounds, n_levels, level_weights, interpolation, outside);
    const Books books{n_books, {log2_codes, log2_probes}, nullptr};
    with_probed_shape(n_dims, n_features, [&](auto d, auto f) {
        add_to_table<decltype(d)::value, decltype(f)::value>(g, books, table, probabilities, {grad, grad_n, grad_k},
                                                               {direction, dir_n, dir_k}, grad_table, touched,
                                                               grad_probabilities, n_threads);
    });
}

void probed_grid_backward_positions(const float* positions, i64 pos_n, i64 pos_k, const float* table, const u8* codes,
                                    const float* grad, i64 grad_n, i64 grad_k, i64 n_points, const i64* levels,
                                    int n_levels, int n_dims, int n_features, int n_books, int log2_codes,
                                    int log2_probes, const float* level_weights, int interpolation, int outside,
                                    float* grad_positions, int n_threads) {
    const i64 bounds[2] = {0, n_points};
    const Turned turned({positions, pos_n, pos_k}, n_points, n_dims, n_threads);
    const Grid g = grid_of(turned, levels, bounds, n_levels, level_weights, interpolation, outside);
    const Books books{n_books, {log2_codes, log2_probes}, codes};
    with_probed_shape(n_dims, n_features, [&](auto d, auto f) {
        constexpr int D = decltype(d)::value;
        backward_positions<D, decltype(f)::value>(ProbedCorners<D>{books}, g, table, 0, {grad, grad_n, grad_k}, nullptr,
                                                  grad_positions, n_threads);
    });
}

void probed_grid_backward_backward(const float* positions, i64 pos_n, i64 pos_k, const float* table, const u8* codes,
                                   const float* grad, i64 grad_n, i64 grad_k, const float* direction, i64 dir_n,
                                   i64 dir_k, i64 n_points, const i64* levels, int n_levels, int n_dims, int n_features,
                                   int n_books, int log2_codes, int log2_probes, const float* level_weights,
                                   int interpolation, int outside, float* grad_grad, i64 gg_n, i64 gg_k,
                                   float* grad_positions, int n_threads) {
    const i64 bounds[2] = {0, n_points};
    const Turned turned({positions, pos_n, pos_k}, n_points, n_dims, n_threads);
    const Grid g = grid_of(turned, levels, bounds, n_levels, level_weights, interpolation, outside);
    const Books books{n_books, {log2_codes, log2_probes}, codes};
    with_probed_shape(n_dims, n_features, [&](auto d, auto f) {
        constexpr int D = decltype(d)::value;
        backward_backward<D, decltype(f)::value>(ProbedCorners<D>{books}, g, table, {grad, grad_n, grad_k},
                                                 {direction, dir_n, dir_k}, nullptr, {grad_grad, gg_n, gg_k},
                                                 grad_positions, n_threads);
    });
}

} // namespace NEURAL_ISA
} // namespace neural
