// Which cell of a scalable grid a point lies in, and where it lies in that cell.
//
// A position x has q_d = (x_d - frame[d]) * frame[D + d] on every axis. Axes whose bit is set in `split` are cut into
// cells of length 1: the cell's coordinate is floor(q_d). Others are not cut; [0, 1] is the whole extent there. With a
// margin m > 0 a cell reaches m beyond its faces, so that points near a face belong to the cells of both sides: slot s
// of a point, a bit per split axis, is the neighbour on the near side where the bit is set.
//
// Cells are found by a hash table with linear probing: keys int64 [n_slots], -1 where empty, and values int32 [n_slots].
#pragma once
#include "common/platform.cuh"

namespace neural {
namespace cells {

constexpr int kMaxSplit = 3;
constexpr int kKeyBits = 21;                // per split axis
constexpr i64 kOffset = 1 << 20;            // makes coordinates positive in a key
constexpr float kFarthest = 1048573.0f;     // |q| beyond this has no cell; neighbours still fit the key
constexpr i32 kUnused = -1, kAbsent = -2;   // a slot that the point does not need, one whose cell does not exist

struct Map {
    const float* frame;
    int n_dims, split;
    float margin;
    const i64* keys;
    const i32* values;
    i64 n_slots;            // of the hash table, a power of two
    const i64* coordinates; // [n_cells, split axes]
    i64 n_cells;
    bool nearest; // points of which no cell exists go to the nearest
};

NEURAL_HD i64 first_slot(i64 key, i64 n_slots) { return i64((u64(key) * 0x9e3779b97f4a7c15ull) >> 20) & (n_slots - 1); }

NEURAL_HD i32 look_up(const Map& map, i64 key) {
    for (i64 slot = first_slot(key, map.n_slots);; slot = (slot + 1) & (map.n_slots - 1)) {
        if (map.keys[slot] == key) return map.values[slot];
        if (map.keys[slot] < 0) return kAbsent;
    }
}

NEURAL_HD float scaled(const Map& map, const float* position, i64 stride, int d) {
    return (position[d * stride] - map.frame[d]) * map.frame[map.n_dims + d];
}

// The cell whose box is nearest, the first of equals; map.n_cells > 0.
NEURAL_HD i32 nearest_cell(const Map& map, const float* position, i64 stride, int n_split) {
    i32 best = 0;
    float least = 3.4e38f;
    for (i64 c = 0; c < map.n_cells; ++c) {
        float sum = 0.0f;
        int a = 0;
        for (int d = 0; d < map.n_dims; ++d) {
            if (!((map.split >> d) & 1)) continue;
            const float u = scaled(map, position, stride, d) - float(map.coordinates[c * n_split + a++]);
            const float away = (u < 0.0f ? -u : u > 1.0f ? u - 1.0f : 0.0f) / map.frame[map.n_dims + d];
            sum += away * away;
        }
        if (sum < least) {
            least = sum;
            best = i32(c);
        }
    }
    return best;
}

// The last key that was looked up and what was found: neighbours in a batch often share a cell.
struct Last {
    i64 key = -1;
    i32 cell = kAbsent;
};

// Writes the cells of a point's slots: 2^split axes with a margin, else one.
NEURAL_HD void find(const Map& map, const float* position, i64 stride, Last& last, i32* slots) {
    i64 cell[kMaxSplit];
    int side[kMaxSplit], n = 0;
    bool sound = true;
    for (int d = 0; d < map.n_dims; ++d) {
        if (!((map.split >> d) & 1)) continue;
        float q = scaled(map, position, stride, d);
        const bool within = q >= -kFarthest && q <= kFarthest; // not NaN
        sound = sound && within;
        q = within ? q : 0.0f;
        cell[n] = i64(q);
        if (float(cell[n]) > q) --cell[n];
        const float f = q - float(cell[n]);
        side[n++] = f < map.margin ? -1 : f > 1.0f - map.margin ? 1 : 0;
    }
    const int n_slots = map.margin > 0.0f ? 1 << n : 1;
    bool present = false;
    for (int s = 0; s < n_slots; ++s) {
        bool needed = true;
        i64 key = 0;
        for (int a = 0; a < n; ++a) {
            const bool other = (s >> a) & 1;
            needed = needed && !(other && side[a] == 0);
            key = (key << kKeyBits) | (cell[a] + (other ? side[a] : 0) + kOffset);
        }
        i32 found = kUnused;
        if (needed && sound) {
            if (key != last.key) {
                last.key = key;
                last.cell = look_up(map, key);
            }
            found = last.cell;
        } else if (needed) {
            found = kAbsent;
        }
        present = present || found >= 0;
        slots[s] = found;
    }
    if (map.nearest && !present && map.n_cells > 0) slots[0] = nearest_cell(map, position, stride, n);
}

// Where a point lies in a cell, reach included: [0, 1] on every axis.
NEURAL_HD float local(const Map& map, const float* position, i64 stride, i32 cell, int d) {
    const float q = scaled(map, position, stride, d);
    if (!((map.split >> d) & 1)) return q;
    int a = 0, n = 0;
    for (int e = 0; e < map.n_dims; ++e) {
        a += e < d && ((map.split >> e) & 1);
        n += (map.split >> e) & 1;
    }
    return (q - float(map.coordinates[i64(cell) * n + a]) + map.margin) / (1.0f + 2.0f * map.margin);
}

} // namespace cells
} // namespace neural
