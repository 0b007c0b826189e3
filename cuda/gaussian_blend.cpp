// Blending on the CPU: a tile is one task, a vector is a piece of a 4x4 block of pixels, and each block walks only the
// Gaussians that reach it. Backward goes along that list twice: forth to know alpha and T of each, back with what lies
// behind. What a Gaussian gets from a tile is a row of sums over pixels, left in a slot of its own; slots are added in
// order, so results do not depend on the number of threads.
#include "gaussian_blend.h"
#include "common/features.h"
#include "common/tile.h"

namespace neural {
namespace NEURAL_ISA {
namespace {

constexpr i64 kBatch = 256; // pairs staged at once, in the forward pass

struct Image {
    i64 width, height;
    const float* background;
    float *colors, *alphas;
};

template <int C>
void forward(const float* rows, const i64* offsets, const i32* gaussians, const u16* masks, const Image& image,
             i32* reached, int n_threads) {
    struct Memory {
        alignas(64) float staged[kBatch * kRow];
        u8 lists[kBlocks * kBatch];
        struct {
            Light light;
            vfloat color[C];
        } pieces[kBlocks * kPieces];
    };
    const i64 n_tiles = ((image.width + kTile - 1) / kTile) * ((image.height + kTile - 1) / kTile);
    parallel_for_with<Memory>(1, n_tiles, n_threads, [&](i64 tile, Memory* memory) {
        const TilePlace place(tile, image.width, image.height);
        u32 open = 0; // blocks with pixels that light still passes
        for (int b = 0; b < kBlocks; ++b) {
            if (place.has(b)) open |= 1u << b;
            for (int p = 0; p < kPieces; ++p) {
                auto& piece = memory->pieces[b * kPieces + p];
                piece.light = Light::full();
                for (int k = 0; k < C; ++k) piece.color[k] = splat(0.0f);
            }
        }
        i64 at = offsets[tile];
        const i64 end = offsets[tile + 1];
        while (at < end && open) {
            const i64 n = end - at < kBatch ? end - at : kBatch;
            i32 lengths[kBlocks];
            stage(rows, gaussians + at, n, place, memory->staged);
            list_blocks(masks + at, n, kBatch, memory->lists, lengths);
            for (u32 left = open; left; left &= left - 1) {
                const int b = __builtin_ctz(left);
                const u8* const list = memory->lists + b * kBatch;
                bool passes = false;
                for (int p = 0; p < kPieces; ++p) {
                    auto& piece = memory->pieces[b * kPieces + p];
                    const vfloat x = piece_x(b), y = piece_y(b, p);
                    Light light = piece.light;
                    vfloat color[C];
                    for (int k = 0; k < C; ++k) color[k] = piece.color[k];
                    for (i32 i = 0; i < lengths[b]; ++i) {
                        if (i % 8 == 7 && !light.any_left()) break;
                        const float* const row = memory->staged + list[i] * kRow;
                        vfloat before;
                        const vfloat alpha = light.add(alpha_at(row, x, y), before);
                        const vfloat weight = alpha * before;
                        for (int k = 0; k < C; ++k) color[k] += weight * row[kFeatures + k];
                    }
                    piece.light = light;
                    for (int k = 0; k < C; ++k) piece.color[k] = color[k];
                    passes |= light.any_left();
                }
                if (!passes) open &= ~(1u << b);
            }
            at += n;
        }
        reached[tile] = i32(at - offsets[tile]);
        for (int b = 0; b < kBlocks; ++b)
            for (int p = 0; p < kPieces && place.has(b); ++p) {
                const auto& piece = memory->pieces[b * kPieces + p];
                const i64 plane = image.width * image.height;
                store_piece(image.alphas, image.width, 1, place, b, p, 1.0f - piece.light.last);
                for (int k = 0; k < C; ++k) {
                    const float behind = image.background ? image.background[k] : 0.0f;
                    store_piece(image.colors + k * plane, image.width, 1, place, b, p,
                                piece.color[k] + piece.light.last * behind);
                }
            }
    });
}

constexpr int kSums = 16; // floats that a pair's pixels are added into: 6 moments, C colours, two absolute sums
constexpr int kAbsolute = 10;

struct Upstream {
    const float* colors;
    i64 sh, sw, sc;
    const float *alphas, *background;
};

// r[0 .. 15] += sum over lanes of v[lane] ones[lane] + w[lane] twos[lane], rows of 16 floats.
NEURAL_HD void add_products(const float* v, const float* w, const float* ones, const float* twos, float* r) {
    vfloat sums[kPieces];
    for (int q = 0; q < kPieces; ++q) sums[q] = load(r + q * kWidth);
    for (int lane = 0; lane < kWidth; ++lane)
        for (int q = 0; q < kPieces; ++q)
            sums[q] += v[lane] * load(ones + lane * kSums + q * kWidth) + w[lane] * load(twos + lane * kSums + q * kWidth);
    for (int q = 0; q < kPieces; ++q) store(r + q * kWidth, sums[q]);
}

struct Lengths { // of the parts of a thread's memory, in floats, for tiles of at most n pairs
    i64 staged, lists, sums, walk, total;

    explicit Lengths(i64 n) {
        n = (n + 15) / 16 * 16;
        staged = n * kRow, lists = n * kBlocks, sums = n * kSums, walk = n * (2 * kWidth + 1);
        total = staged + lists + sums + walk + 16;
    }
};

template <int C, bool Absolute>
void backward_tile(const TilePlace& place, const float* rows, const i32* gaussians, const u16* masks, const i32* slots,
                   i64 n, const Upstream& up, float* memory, const Lengths& parts, float* partials,
                   double* grad_background) {
    constexpr int kPartial = 6 + C + (Absolute ? 2 : 0);
    float* const staged = memory;
    i32* const lists = (i32*)(staged + parts.staged);
    float* const sums = (float*)lists + parts.lists;
    float* const alphas = sums + parts.sums; // of the Gaussians that a piece meets, then T in front of each
    const i64 room = parts.sums / kSums;
    float* const befores = alphas + room * kWidth;
    i32* const met = (i32*)(befores + room * kWidth);
    i32 lengths[kBlocks];
    stage(rows, gaussians, n, place, staged);
    list_blocks(masks, n, room, lists, lengths);
    for (i64 i = 0; i < n * kSums; ++i) sums[i] = 0.0f;
    alignas(64) float ones[kWidth * kSums] = {}, twos[kWidth * kSums] = {}, v_lanes[kWidth], w_lanes[kWidth];
    for (int b = 0; b < kBlocks; ++b)
        for (int p = 0; p < kPieces && place.has(b); ++p) {
            const vfloat x = piece_x(b), y = piece_y(b, p);
            Light light = Light::full();
            i32 n_met = 0;
            for (i32 i = 0; i < lengths[b]; ++i) {
                if (i % 8 == 7 && !light.any_left()) break;
                const i32 place_of = lists[b * room + i];
                vfloat before;
                const vfloat alpha = light.add(alpha_at(staged + i64(place_of) * kRow, x, y), before);
                store(alphas + i64(n_met) * kWidth, alpha);
                store(befores + i64(n_met) * kWidth, before);
                met[n_met] = place_of;
                n_met += any(alpha > 0.0f);
            }
            vfloat g[C];
            for (int k = 0; k < C; ++k) g[k] = load_piece(up.colors + k * up.sc, up.sh, up.sw, place, b, p);
            vfloat behind{};
            if (up.alphas) behind -= load_piece(up.alphas, place.width, 1, place, b, p);
            for (int k = 0; k < C; ++k) {
                if (up.background) behind += up.background[k] * g[k];
                if (grad_background) grad_background[k] += lane_sum(light.last * g[k]);
            }
            behind *= light.last;
            for (int lane = 0; lane < kWidth; ++lane) {
                const float moments[6] = {1.0f, x[lane], y[lane], x[lane] * x[lane], x[lane] * y[lane], y[lane] * y[lane]};
                for (int k = 0; k < 6; ++k) ones[lane * kSums + k] = moments[k];
                for (int k = 0; k < C; ++k) twos[lane * kSums + 6 + k] = g[k][lane];
            }
            for (i32 i = n_met - 1; i >= 0; --i) {
                const float* const row = staged + i64(met[i]) * kRow;
                const vfloat alpha = load(alphas + i64(i) * kWidth), before = load(befores + i64(i) * kWidth);
                vfloat along = g[0] * row[kFeatures];
                for (int k = 1; k < C; ++k) along += g[k] * row[kFeatures + k];
                const vfloat weight = alpha * before;
                const vfloat to_alpha = before * along - behind / (1.0f - alpha);
                behind += weight * along;
                const vfloat v = alpha < blend::kMaxAlpha ? to_alpha * alpha : splat(0.0f);
                store(v_lanes, v);
                store(w_lanes, weight);
                float* const own = sums + i64(met[i]) * kSums;
                add_products(v_lanes, w_lanes, ones, twos, own);
                if constexpr (Absolute) { // |v (A dx + B dy)|; row holds the conic times constants
                    const vfloat dx = x - row[0], dy = y - row[1];
                    constexpr float unscale = -1.0f / blend::kLog2e;
                    own[kAbsolute] += lane_sum(abs(v * (2.0f * row[2] * dx + row[3] * dy))) * -unscale;
                    own[kAbsolute + 1] += lane_sum(abs(v * (row[3] * dx + 2.0f * row[4] * dy))) * -unscale;
                }
            }
        }
    for (i64 i = 0; i < n; ++i) {
        const float *const row = staged + i * kRow, *const s = sums + i * kSums;
        float* const out = partials + i64(slots[i]) * kPartial;
        constexpr float unscale = -1.0f / blend::kLog2e;
        blend::gradients({s[0], s[1], s[2], s[3], s[4], s[5]}, row[0], row[1], 2.0f * unscale * row[2],
                         unscale * row[3], 2.0f * unscale * row[4], row[5], out);
        for (int k = 0; k < C; ++k) out[6 + k] = s[6 + k];
        if constexpr (Absolute) out[6 + C] = s[kAbsolute], out[7 + C] = s[kAbsolute + 1];
    }
}

struct Gradients {
    float *means2d, *conics, *opacities, *features, *background, *absolute;
};

template <int C, bool Absolute>
void backward(const float* rows, i64 n, const i64* offsets, const i32* gaussians, const u16* masks, const i32* slots,
              const i32* starts, const i32* reached, i64 width, i64 height, const Upstream& up, const Gradients& grad,
              int n_threads) {
    constexpr int kPartial = 6 + C + (Absolute ? 2 : 0);
    constexpr i64 kChunk = 4096;
    const i64 n_tiles = ((width + kTile - 1) / kTile) * ((height + kTile - 1) / kTile);
    i64 longest = 1;
    for (i64 t = 0; t < n_tiles; ++t) longest = reached[t] > longest ? reached[t] : longest;
    const Lengths parts(longest);
    const Scratch<float> partials(i64(starts[n]) * kPartial + 1);
    const Scratch<double> backgrounds(grad.background ? n_tiles * C : 1);
    parallel_for_with<float>(parts.total, n_tiles, n_threads, [&](i64 tile, float* memory) {
        const TilePlace place(tile, width, height);
        const i64 first = offsets[tile], count = reached[tile];
        double* const behind = grad.background ? backgrounds.data + tile * C : nullptr;
        for (int k = 0; behind && k < C; ++k) behind[k] = 0.0;
        backward_tile<C, Absolute>(place, rows, gaussians + first, masks + first, slots + first, count, up, memory,
                                   parts, partials.data, behind);
        for (i64 i = first + count; i < offsets[tile + 1]; ++i)
            for (int k = 0; k < kPartial; ++k) partials.data[i64(slots[i]) * kPartial + k] = 0.0f;
    });
    parallel_for((n + kChunk - 1) / kChunk, n_threads, [&](i64 chunk) {
        const i64 end = n < (chunk + 1) * kChunk ? n : (chunk + 1) * kChunk;
        for (i64 g = chunk * kChunk; g < end; ++g) {
            float total[kPartial] = {};
            for (i64 slot = starts[g]; slot < starts[g + 1]; ++slot)
                for (int k = 0; k < kPartial; ++k) total[k] += partials.data[slot * kPartial + k];
            grad.means2d[g] = total[0], grad.means2d[n + g] = total[1];
            for (int k = 0; k < 3; ++k) grad.conics[k * n + g] = total[2 + k];
            grad.opacities[g] = total[5];
            for (int k = 0; k < C; ++k) grad.features[k * n + g] = total[6 + k];
            if constexpr (Absolute)
                grad.absolute[g] += __builtin_sqrtf(total[6 + C] * total[6 + C] + total[7 + C] * total[7 + C]);
        }
    });
    if (!grad.background) return;
    for (int k = 0; k < C; ++k) {
        double sum = 0.0;
        for (i64 t = 0; t < n_tiles; ++t) sum += backgrounds.data[t * C + k];
        grad.background[k] = float(sum);
    }
}

} // namespace

void gaussian_blend_forward(const float* means2d, i64 m_stride_n, i64 m_stride_k, const float* conics, i64 c_stride_n,
                            i64 c_stride_k, const float* opacities, const float* features, i64 f_stride_n,
                            i64 f_stride_k, i64 n, i64 n_channels, const i64* offsets, const i32* gaussians,
                            const u16* masks, i64 width, i64 height, const float* background, float* colors,
                            float* alphas, i32* reached, int n_threads) {
    const Splats splats{means2d, m_stride_n, m_stride_k, conics, c_stride_n, c_stride_k,
                        opacities, features, f_stride_n, f_stride_k};
    const Scratch<float> rows(n * kRow + 1);
    pack(splats, int(n_channels), n, rows.data, n_threads);
    with_channels(n_channels, [&](auto c) {
        forward<decltype(c)::value>(rows.data, offsets, gaussians, masks, {width, height, background, colors, alphas},
                                    reached, n_threads);
    });
}

void gaussian_blend_backward(const float* means2d, i64 m_stride_n, i64 m_stride_k, const float* conics, i64 c_stride_n,
                             i64 c_stride_k, const float* opacities, const float* features, i64 f_stride_n,
                             i64 f_stride_k, i64 n, i64 n_channels, const i64* offsets, const i32* gaussians,
                             const u16* masks, const i32* slots, const i32* starts, const i32* reached, i64 width,
                             i64 height, const float* background, const float* grad_colors, i64 g_stride_h,
                             i64 g_stride_w, i64 g_stride_c, const float* grad_alphas, float* grad_means2d,
                             float* grad_conics, float* grad_opacities, float* grad_features, float* grad_background,
                             float* absolute, int n_threads) {
    const Splats splats{means2d, m_stride_n, m_stride_k, conics, c_stride_n, c_stride_k,
                        opacities, features, f_stride_n, f_stride_k};
    const Scratch<float> rows(n * kRow + 1);
    pack(splats, int(n_channels), n, rows.data, n_threads);
    const Upstream up{grad_colors, g_stride_h, g_stride_w, g_stride_c, grad_alphas, background};
    const Gradients grad{grad_means2d, grad_conics, grad_opacities, grad_features, grad_background, absolute};
    with_channels(n_channels, [&](auto c) {
        constexpr int C = decltype(c)::value;
        const auto run = absolute ? &backward<C, true> : &backward<C, false>;
        run(rows.data, n, offsets, gaussians, masks, slots, starts, reached, width, height, up, grad, n_threads);
    });
}

} // namespace NEURAL_ISA
} // namespace neural
