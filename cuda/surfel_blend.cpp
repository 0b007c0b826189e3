// Surfel blending on the CPU: tiles, blocks, lists and slots as in gaussian_blend.cpp.
#include "surfel_blend.h"
#include "common/features.h"
#include "gaussian_slots.h"
#include "surfel_blend.cuh"

namespace neural {
namespace NEURAL_ISA {
namespace {

using namespace surfel;

constexpr i64 kRows = 1024;                     // surfels of a task
constexpr int kFeatures = kGeometry + kSheet;   // where they begin in a record
constexpr int kBackward = kPlanes + kState + 6; // planes of a tile in backward, beside the features'
template <int C> using PairSlot = Slot<kMoments, C>;

i64 surfel_stride(i64 n_channels) { return (kFeatures + n_channels + 15) / 16 * 16; }

// Colours and normals, or any number of channels.
template <class Visit> void with_channels(i64 n_channels, const Visit& visit) {
    if (n_channels == 6) visit(Constant<6>{});
    else visit(Constant<0>{});
}

struct Machine {
    typedef vmask Mask;
    NEURAL_HD vfloat abs(vfloat v) const { return NEURAL_ISA::abs(v); }
    NEURAL_HD vfloat inverse(vfloat v) const { return NEURAL_ISA::inverse(v); }
    NEURAL_HD vfloat choose(vmask m, vfloat a, vfloat b) const { return select(m, a, b); }
    NEURAL_HD vfloat or_zero(vmask m, vfloat v) const { return NEURAL_ISA::or_zero(m, v); }
    NEURAL_HD vmask both(vmask a, vmask b) const { return NEURAL_ISA::both(a, b); }
    NEURAL_HD vmask above(vfloat a, vfloat b) const { return NEURAL_ISA::above(a, b); }
    NEURAL_HD vmask at_least(vfloat a, vfloat b) const { return NEURAL_ISA::at_least(a, b); }
};

struct Meeting : Share, Crossing<vfloat, Machine> {}; // of one surfel and the pixels of one part of a block
NEURAL_HD Meeting meet(const float* record, vfloat x, vfloat y, vfloat& before) {
    const auto crossing = cross(record + kGeometry, x, y, Machine{});
    const vfloat l = splat(record[5]);
    return {share(l - 0.5f * ellipse::kLog2E * crossing.squared, l, before), crossing};
}

NEURAL_HD void clear(Plane* planes, i64 n) {
    for (i64 k = 0; k < n; ++k)
        for (int block = 0; block < kBlocks; ++block)
            for (int pixel = 0; pixel < kBlockPixels; ++pixel) planes[k][block][pixel] = 0.0f;
}

template <int C>
void forward(const Lists& lists, const Tile& tile, i64 n_channels, const float* background, i64 width, i64 height,
             float* colors, float* others, float* states, u16* hits, Plane* planes) {
    const i64 channels = C > 0 ? C : n_channels, size = width * height;
    Plane *out = planes + channels, *state = out + kPlanes;
    clear(planes, channels + kPlanes + kState);
    Left left(tile);
    const Centres centres(tile);
    for (i64 pair = tile.begin; pair < tile.end; ++pair) hits[pair] = 0;
    walk(lists, tile, left, [&](const Batch& batch, int block, const i32* list, int n) {
        for (int part = 0; part < kParts; ++part) {
            const int at = part * kWidth;
            const vfloat x = centres.x[block % 4], y = centres.y[block / 4][part];
            vfloat before = load(left.now[block] + at), sums[C > 0 ? C : 1];
            vfloat first = load(state[kFirst][block] + at), place = load(state[kPlace][block] + at);
            vfloat mean = load(state[kMean][block] + at), square = load(state[kSquare][block] + at);
            vfloat median = load(out[kMedian][block] + at);
            NEURAL_UNROLL for (int k = 0; k < C; ++k) sums[k] = load(planes[k][block] + at);
            for (int i = 0; i < n; ++i) {
                const float* record = batch.records[list[i]];
                const vmask pivot = above(before, splat(0.5f));
                const Meeting found = meet(record, x, y, before);
                // a pixel's end counts too: backward has to see it
                hits[batch.first + list[i]] |= u16(u32((bits(found.kept) | bits(found.stopped)) != 0) << block);
                if (bits(found.kept)) {
                    first = select(without(found.kept, above(first, splat(0.0f))), found.depth, first);
                    const vmask deeper = both(found.kept, pivot);
                    median = select(deeper, found.depth, median);
                    place = select(deeper, splat(float(batch.first + list[i] - tile.begin + 1)), place);
                    const vfloat beyond = or_zero(found.kept, found.depth - first), share = found.weight * beyond;
                    mean += share, square += share * beyond;
                    NEURAL_UNROLL for (int k = 0; k < C; ++k) sums[k] += found.weight * record[kFeatures + k];
                    if constexpr (C == 0)
                        for (i64 k = 0; k < channels; ++k) {
                            float* sum = planes[k][block] + at;
                            store(sum, load(sum) + found.weight * record[kFeatures + k]);
                        }
                }
                if (bits(found.stopped) && left.stop(block, part, found.stopped, before)) break;
            }
            store(left.now[block] + at, before);
            store(state[kFirst][block] + at, first), store(state[kPlace][block] + at, place);
            store(state[kMean][block] + at, mean), store(state[kSquare][block] + at, square);
            store(out[kMedian][block] + at, median);
            NEURAL_UNROLL for (int k = 0; k < C; ++k) store(planes[k][block] + at, sums[k]);
        }
    });
    for (int block = 0; block < kBlocks; ++block)
        for (int part = 0; part < kParts; ++part) {
            const int at = part * kWidth;
            const vfloat rest = left.last(block, part), alpha = 1.0f - rest;
            const vfloat first = load(state[kFirst][block] + at), mean = load(state[kMean][block] + at);
            store(state[kLeft][block] + at, rest);
            store(out[kAlpha][block] + at, alpha);
            store(out[kExpected][block] + at, mean + first * alpha);
            const vfloat spread = alpha * load(state[kSquare][block] + at) - mean * mean;
            store(out[kDistortion][block] + at, max(spread, splat(0.0f)));
            for (i64 k = 0; k < channels && background; ++k) {
                float* sum = planes[k][block] + at;
                store(sum, load(sum) + rest * background[k]);
            }
        }
    for (i64 k = 0; k < channels; ++k) put(planes[k], tile, width, colors + k * size);
    for (int k = 0; k < kPlanes; ++k) put(out[k], tile, width, others + k * size);
    for (int k = 0; k < kState; ++k) put(state[k], tile, width, states + k * size);
}

struct Upstream {
    const float *colors, *state, *grad_colors, *grad[kPlanes];
};

// Leaves the slots of a tile's pairs, and its share of the background's gradient.
template <int C>
void backward(const Lists& lists, const Tile& tile, i64 n_channels, const Upstream& up, const i32* slots,
              const u16* hits, i64 width, i64 height, float* sums, float* grad_background, Plane* memory) {
    const i64 channels = C > 0 ? C : n_channels, n_vectors = PairSlot<C>::vectors(n_channels), size = width * height;
    Plane *grad = memory, *to = grad + channels, *state = to + kPlanes, *gains = state + kState;
    Plane &behind = gains[3], &value = gains[4], &weights = gains[5];
    for (int k = 0; k < kState; ++k) take(up.state + k * size, tile, width, state[k]);
    for (int k = 0; k < kPlanes; ++k) take(up.grad[k], tile, width, to[k]);
    // behind begins as everything: what the sums are made of less what the end takes
    for (int i = 0; i < kBlocks; ++i)
        for (int j = 0; j < kBlockPixels; j += kWidth) {
            const auto of = [&](const Plane& plane) { return load(plane[i] + j); };
            const Totals<vfloat> pixel{of(state[kLeft]), of(state[kFirst]), of(state[kMean]), of(state[kSquare])};
            const auto g = gain(pixel, of(to[kExpected]), of(to[kDistortion]));
            store(gains[0][i] + j, g.constant), store(gains[1][i] + j, g.linear), store(gains[2][i] + j, g.bend);
            store(behind[i] + j, all_gains(pixel, g, of(to[kAlpha])));
        }
    for (i64 k = 0; k < channels; ++k) {
        take(up.grad_colors ? up.grad_colors + k * size : nullptr, tile, width, grad[k]);
        take(up.colors + k * size, tile, width, value);
        vfloat total{};
        for (int i = 0; i < kBlocks; ++i)
            for (int j = 0; j < kBlockPixels; j += kWidth) {
                const vfloat g = load(grad[k][i] + j);
                store(behind[i] + j, load(behind[i] + j) + g * load(value[i] + j));
                total += g * load(state[kLeft][i] + j);
            }
        if (grad_background) grad_background[k] = sum(total);
    }
    Left left(tile);
    const Centres centres(tile);
    for (i64 pair = tile.begin; pair < tile.end; ++pair) {
        if (pair + kAhead < tile.end) __builtin_prefetch(lists.records + lists.gaussians[pair + kAhead] * lists.stride);
        const u32 shown = hits[pair];
        float* slot = sums + slots[pair] * n_vectors * kWidth;
        if (!shown) {
            for (i64 j = 0; j < n_vectors; ++j) store(slot + j * kWidth, splat(0.0f));
            continue;
        }
        const float* record = lists.records + lists.gaussians[pair] * lists.stride;
        const float place = float(pair - tile.begin + 1), inverse_depth = 1.0f / record[kGeometry + kDepth];
        vfloat q[PairSlot<C>::parts * kWidth]{};
        for (u32 rest = shown; rest; rest &= rest - 1) {
            const int block = __builtin_ctz(rest);
            for (int part = 0; part < kParts; ++part) {
                const int at = part * kWidth;
                const auto of = [&](const Plane& plane) { return load(plane[block] + at); };
                vfloat before = of(left.now);
                const Meeting found = meet(record, centres.x[block % 4], centres.y[block / 4][part], before);
                store(left.now[block] + at, select(found.stopped, splat(0.0f), before));
                const vfloat beyond = or_zero(found.kept, found.depth - of(state[kFirst]));
                vfloat own = of(gains[0]) + beyond * (of(gains[1]) + of(gains[2]) * beyond);
                NEURAL_UNROLL for (i64 k = 0; k < channels; ++k) {
                    const vfloat g = of(grad[k]);
                    own += g * record[kFeatures + k];
                    if constexpr (C > 0) q[kMoments + k] += found.weight * g;
                }
                if constexpr (C == 0) store(weights[block] + at, found.weight);
                const vfloat after = of(behind) - found.weight * own;
                store(behind[block] + at, after);
                const vmask free = without(found.kept, above(found.alpha, splat(blending::kMaxAlpha)));
                const vfloat v = or_zero(free, blending::slope(found.weight, found.alpha, own, after,
                                                               inverse(1.0f - found.alpha)));
                const vmask pivot = both(found.kept, both(at_least(of(state[kPlace]), splat(place)),
                                                          at_least(splat(place), of(state[kPlace]))));
                const vfloat g_depth = found.weight * (of(gains[1]) + 2.0f * of(gains[2]) * beyond) + or_zero(pivot, of(to[kMedian]));
                add(q, record + kGeometry, inverse_depth, found, v, g_depth, Machine{});
            }
        }
        PairSlot<C>::store_sums(q, slot);
        if constexpr (C == 0)
            store_feature_sums(weights, grad, channels, shown, slot + PairSlot<C>::parts * kWidth);
    }
}

struct Outputs {
    float *means2d, *axes, *depths, *opacities, *features, *absolute;
};

// Adds the slots of kWidth surfels from n on, and turns moments into gradients.
template <int C>
void gather(const Lists& lists, i64 n, i64 n_surfels, i64 n_channels, const i64* starts, const float* sums,
            const Outputs& out) {
    const Slots slots{sums, starts, PairSlot<C>::vectors(n_channels)};
    const int here = n_surfels - n < kWidth ? int(n_surfels - n) : kWidth;
    vfloat q[PairSlot<C>::parts * kWidth];
    NEURAL_UNROLL for (int j = 0; j < PairSlot<C>::parts; ++j) {
        vfloat rows[kWidth];
        slots.add(n, here, j, rows);
        NEURAL_UNROLL for (int i = 0; i < kWidth; ++i) q[j * kWidth + i] = rows[sum_lane(i)];
    }
    vfloat a[6]{}, l{}; // 0 where nothing shows: culled surfels may have anything
    for (int i = 0; i < here; ++i)
        if (starts[n + i] < starts[n + i + 1]) {
            const float* record = lists.records + (n + i) * lists.stride;
            for (int k = 0; k < 6; ++k) a[k][i] = record[kGeometry + kAxes + k];
            l[i] = record[5];
        }
    const Moments<vfloat> moments{q[0], q[1], q[2], q[3], q[4], q[5], q[6], q[7], q[8], q[9], q[10], q[11]};
    const auto g = axes_gradients<vfloat>(moments, {a[0], a[1], a[2], a[3], a[4], a[5]});
    const vfloat axes[6] = {g.ux, g.vx, g.uy, g.vy, g.uz, g.vz};
    const auto write = [&](float* to, vfloat v) { store(to + n, v, here); };
    write(out.means2d, moments.x);
    write(out.means2d + n_surfels, moments.y);
    for (int k = 0; k < 6; ++k) write(out.axes + k * n_surfels, axes[k]);
    write(out.depths, moments.z);
    write(out.opacities, moments.slope * exp2(-l));
    if (out.absolute) write(out.absolute, load(out.absolute + n, here) + sqrt(q[12] * q[12] + q[13] * q[13]));
    if constexpr (C > 0) {
        NEURAL_UNROLL for (int k = 0; k < C; ++k) write(out.features + k * n_surfels, q[kMoments + k]);
    } else {
        slots.add_features(n, here, PairSlot<C>::parts, n_channels, n_surfels, out.features);
    }
}

} // namespace

void surfel_blend_pack(const float* centres, i64 o_stride_n, i64 o_stride_k, const float* conics, i64 c_stride_n,
                       i64 c_stride_k, const float* means2d, i64 m_stride_n, i64 m_stride_k, const float* axes,
                       i64 a_stride_n, i64 a_stride_k, const float* features, i64 f_stride_n, i64 f_stride_k,
                       const float* depths, const float* opacities, i64 n, i64 n_channels, float* records,
                       int n_threads) {
    const Rows centre{centres, o_stride_n, o_stride_k}, conic{conics, c_stride_n, c_stride_k};
    const Rows mean{means2d, m_stride_n, m_stride_k}, axis{axes, a_stride_n, a_stride_k};
    const Rows feature{features, f_stride_n, f_stride_k};
    const i64 stride = surfel_stride(n_channels), used = (kFeatures + n_channels + kWidth - 1) / kWidth * kWidth;
    parallel_for((n + kRows - 1) / kRows, n_threads, [&](i64 chunk) {
        const i64 end = (chunk + 1) * kRows < n ? (chunk + 1) * kRows : n;
        for (i64 i = chunk * kRows; i < end; i += kWidth) {
            const int count = end - i < kWidth ? int(end - i) : kWidth;
            const auto of = [&](const Rows& rows, i64 k) { return rows.load_lanes(i, k, count); };
            const vfloat a = -0.5f * ellipse::kLog2E * of(conic, 0), b = -ellipse::kLog2E * of(conic, 1);
            const vfloat c = -0.5f * ellipse::kLog2E * of(conic, 2);
            const vfloat l = ellipse::kLog2E * log(load(opacities + i, count));
            const Axes<vfloat> s{of(axis, 0), of(axis, 1), of(axis, 2), of(axis, 3), of(axis, 4), of(axis, 5)};
            const vfloat geometry[kFeatures] = {
                of(centre, 0), of(centre, 1), a, b, c, l, -0.5f * b / a, -0.5f * b / c, of(mean, 0), of(mean, 1), s.ux,
                s.vx, s.uy, s.vy, s.uz, s.vz, load(depths + i, count), area(s), slope_x(s), slope_y(s)};
            for (i64 first = 0; first < used; first += kWidth) {
                vfloat rows[kWidth];
                for (int k = 0; k < kWidth; ++k) {
                    const i64 at = first + k;
                    rows[k] = at < kFeatures                ? geometry[at]
                              : at < kFeatures + n_channels ? of(feature, at - kFeatures)
                                                            : splat(0.0f);
                }
                transpose(rows);
                for (int j = 0; j < count; ++j) store(records + (i + j) * stride + first, rows[j]);
            }
        }
    });
}

void surfel_blend_forward(const float* records, i64 n_channels, const float* background, const i64* offsets,
                          const i32* gaussians, i64 width, i64 height, float* colors, float* planes, float* state,
                          u16* hits, int n_threads) {
    const Lists lists{records, surfel_stride(n_channels), offsets, gaussians};
    with_channels(n_channels, [&](auto c) {
        const i64 length = n_channels + kPlanes + kState;
        parallel_for_with<Plane>(length, tile_count(width, height), n_threads, [&](i64 index, Plane* memory) {
            const Tile tile(lists, width, height, index);
            forward<decltype(c)::value>(lists, tile, n_channels, background, width, height, colors, planes, state,
                                        hits, memory);
        });
    });
}

void surfel_blend_backward(const float* records, i64 n, i64 n_channels, const i64* offsets, const i32* gaussians,
                           const i64* starts, const i32* slots, const u16* hits, i64 width, i64 height,
                           const float* colors, const float* state, const float* grad_colors, const float* grad_alphas,
                           const float* grad_expected, const float* grad_medians, const float* grad_distortions,
                           float* grad_means2d, float* grad_axes, float* grad_depths, float* grad_opacities,
                           float* grad_features, float* grad_background, float* absolute, int n_threads) {
    const Lists lists{records, surfel_stride(n_channels), offsets, gaussians};
    const Upstream up{colors, state, grad_colors, {grad_alphas, grad_expected, grad_medians, grad_distortions}};
    const Outputs out{grad_means2d, grad_axes, grad_depths, grad_opacities, grad_features, absolute};
    const i64 n_tiles = tile_count(width, height);
    const Scratch<float> shares(grad_background ? n_tiles * n_channels : 0);
    with_channels(n_channels, [&](auto c) {
        constexpr int C = decltype(c)::value;
        const Scratch<float> sums(offsets[n_tiles] * PairSlot<C>::vectors(n_channels) * kWidth);
        const i64 length = n_channels + kBackward;
        parallel_for_with<Plane>(length, n_tiles, n_threads, [&](i64 index, Plane* memory) {
            const Tile tile(lists, width, height, index);
            backward<C>(lists, tile, n_channels, up, slots, hits, width, height, sums.data,
                        grad_background ? shares.data + index * n_channels : nullptr, memory);
        });
        parallel_for((n + kRows - 1) / kRows, n_threads, [&](i64 chunk) {
            const i64 end = (chunk + 1) * kRows < n ? (chunk + 1) * kRows : n;
            for (i64 i = chunk * kRows; i < end; i += kWidth)
                gather<C>(lists, i, n, n_channels, starts, sums.data, out);
        });
    });
    for (i64 k = 0; k < n_channels && grad_background; ++k) {
        float total = 0.0f;
        for (i64 index = 0; index < n_tiles; ++index) total += shares.data[index * n_channels + k];
        grad_background[k] = total;
    }
}

} // namespace NEURAL_ISA
} // namespace neural
