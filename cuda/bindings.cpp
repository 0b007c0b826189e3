// The Python module `neural.cuda._native`: one line per CPU kernel, and which instruction set runs.
// Pointers arrive as data_ptr() integers that Python has checked; nothing here allocates or checks.
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>
#include <string>
#include <type_traits>
#include <vector>
#if defined(__GLIBC__)
#include <malloc.h>
#endif
#include "adam.h"
#include "axis_encoding.h"
#include "cell_blend.h"
#include "cell_sort.h"
#include "compact.h"
#include "composite.h"
#include "distortion.h"
#include "fma_peak.h"
#include "frequency.h"
#include "fused.h"
#include "gaussian_blend.h"
#include "gaussian_color.h"
#include "gaussian_noise.h"
#include "gaussian_projection.h"
#include "gaussian_tiles.h"
#include "hash_grid.h"
#include "level_blend.h"
#include "metric_maps.h"
#include "mlp.h"
#include "modulated_sine.h"
#include "occupancy.h"
#include "packed.h"
#include "philox.h"
#include "probed_grid.h"
#include "ray_march.h"
#include "ray_points.h"
#include "simplex.h"
#include "spherical_harmonics.h"
#include "ssim.h"
#include "surfel_blend.h"
#include "surfel_projection.h"
#include "trilinear.h"

namespace nb = nanobind;
using namespace neural;

namespace {

const char* const kIsaNames[] = {"baseline", "avx2", "avx512"};

int best_isa() {
#if defined(__x86_64__) || defined(_M_X64)
    __builtin_cpu_init();
    // F16C, which older clang cannot ask for, is older than AVX2: CPUs with the one have the other.
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    return avx512 ? 2 : avx2 ? 1 : 0;
#else
    return 0;
#endif
}

int isa_named(const std::string& name) {
    const int best = best_isa();
    std::string choice;
    for (int i = 0; i <= best; ++i) {
        if (name == kIsaNames[i]) return i;
        choice += std::string(i ? ", " : "") + kIsaNames[i];
    }
    throw nb::value_error(("instruction set '" + name + "' is not available here; choose one of: " + choice).c_str());
}

int active = 0; // index into kIsaNames; written by set_isa only

template <class T> struct Wire { // how Python passes T
    using type = std::conditional_t<std::is_pointer_v<T>, std::uintptr_t, T>;
    static T read(type value) {
        if constexpr (std::is_pointer_v<T>) return reinterpret_cast<T>(value);
        else return value;
    }
};

template <class Result, class... Args>
void bind(nb::module_& m, const char* name, Result (*const (&&entries)[kIsaCount])(Args...)) {
    struct Table {
        Result (*of[kIsaCount])(Args...);
    } table;
    for (int i = 0; i < kIsaCount; ++i) table.of[i] = entries[i];
    m.def(name, [table](typename Wire<Args>::type... args) {
        nb::gil_scoped_release nogil;
        return table.of[active](Wire<Args>::read(args)...);
    });
}

#define NEURAL_BIND(m, name) bind(m, #name, NEURAL_EACH_ISA(name))

// Keeps freed blocks in the process: a training step that allocates the same large buffers again and again
// would otherwise map and clear them anew each time. Process-wide, so only training loops ask for it.
void retain_heap() {
#if defined(__GLIBC__)
    mallopt(M_MMAP_MAX, 0);
    mallopt(M_TRIM_THRESHOLD, 2147483647);
    mallopt(M_TOP_PAD, 64 << 20);
#endif
}

} // namespace

NB_MODULE(_native, m) {
    const char* wanted = std::getenv("NEURAL_ISA");
    active = wanted && *wanted ? isa_named(wanted) : best_isa();
    m.def("active_isa", [] { return std::string(kIsaNames[active]); });
    m.def("available_isas", [] { return std::vector<std::string>(kIsaNames, kIsaNames + best_isa() + 1); });
    m.def("set_isa", [](const std::string& name) { active = isa_named(name); });
    m.def("retain_heap", &retain_heap);

    NEURAL_BIND(m, gaussian_blend_pack);
    NEURAL_BIND(m, gaussian_blend_forward);
    NEURAL_BIND(m, gaussian_blend_backward);
    NEURAL_BIND(m, gaussian_color_forward);
    NEURAL_BIND(m, gaussian_color_backward);
    NEURAL_BIND(m, gaussian_contributions);
    NEURAL_BIND(m, gaussian_median_depth);
    NEURAL_BIND(m, gaussian_noise);
    NEURAL_BIND(m, gaussian_projection_forward);
    NEURAL_BIND(m, gaussian_projection_backward);
    NEURAL_BIND(m, gaussian_tiles_count);
    NEURAL_BIND(m, gaussian_tiles_fill);
    NEURAL_BIND(m, hash_grid_forward);
    NEURAL_BIND(m, hash_grid_backward_table);
    NEURAL_BIND(m, hash_grid_backward_positions);
    NEURAL_BIND(m, hash_grid_backward_backward);
    NEURAL_BIND(m, simplex_forward);
    NEURAL_BIND(m, simplex_backward_table);
    NEURAL_BIND(m, simplex_backward_positions);
    NEURAL_BIND(m, simplex_backward_backward);

    NEURAL_BIND(m, adam_step);
    NEURAL_BIND(m, axis_encoding_forward);
    NEURAL_BIND(m, axis_encoding_backward);
    NEURAL_BIND(m, axis_encoding_backward_backward);
    NEURAL_BIND(m, cell_blend_check);
    NEURAL_BIND(m, cell_blend_forward);
    NEURAL_BIND(m, cell_blend_backward_features);
    NEURAL_BIND(m, cell_blend_backward_weights);
    NEURAL_BIND(m, cell_sort_chunk);
    NEURAL_BIND(m, cell_sort_find);
    NEURAL_BIND(m, cell_sort_place);
    NEURAL_BIND(m, visible_mark);
    NEURAL_BIND(m, visible_fill);
    NEURAL_BIND(m, compact_check);
    NEURAL_BIND(m, compact_samples);
    NEURAL_BIND(m, compact_gather);
    NEURAL_BIND(m, compact_scatter);
    NEURAL_BIND(m, composite_forward);
    NEURAL_BIND(m, composite_backward);
    NEURAL_BIND(m, distortion_forward);
    NEURAL_BIND(m, distortion_backward);
    NEURAL_BIND(m, fma_peak);
    NEURAL_BIND(m, fused_forward);
    NEURAL_BIND(m, fused_backward);
    NEURAL_BIND(m, fused_step);
    NEURAL_BIND(m, frequency_forward);
    NEURAL_BIND(m, frequency_backward);
    NEURAL_BIND(m, frequency_backward_backward);
    NEURAL_BIND(m, level_blend_forward);
    NEURAL_BIND(m, level_blend_spread);
    NEURAL_BIND(m, level_blend_dot);
    NEURAL_BIND(m, metric_maps_forward);
    NEURAL_BIND(m, metric_maps_backward);
    NEURAL_BIND(m, metric_maps_backward_backward);
    NEURAL_BIND(m, modulated_sine_forward);
    NEURAL_BIND(m, modulated_sine_backward);
    NEURAL_BIND(m, mlp_forward);
    NEURAL_BIND(m, mlp_backward);
    NEURAL_BIND(m, mlp_backward_backward);
    NEURAL_BIND(m, occupancy_points);
    NEURAL_BIND(m, occupancy_update);
    NEURAL_BIND(m, occupancy_mean);
    NEURAL_BIND(m, occupancy_pack);
    NEURAL_BIND(m, packed_info_check);
    NEURAL_BIND(m, packed_info_starts);
    NEURAL_BIND(m, philox_uniform);
    NEURAL_BIND(m, probed_grid_forward);
    NEURAL_BIND(m, probed_grid_backward_table);
    NEURAL_BIND(m, probed_grid_backward_positions);
    NEURAL_BIND(m, probed_grid_backward_backward);
    NEURAL_BIND(m, ray_march_count);
    NEURAL_BIND(m, ray_march_write);
    NEURAL_BIND(m, ray_points_forward);
    NEURAL_BIND(m, ray_points_backward);
    NEURAL_BIND(m, spherical_harmonics_forward);
    NEURAL_BIND(m, spherical_harmonics_backward);
    NEURAL_BIND(m, ssim_loss);
    NEURAL_BIND(m, surfel_blend_pack);
    NEURAL_BIND(m, surfel_blend_forward);
    NEURAL_BIND(m, surfel_blend_backward);
    NEURAL_BIND(m, surfel_projection_forward);
    NEURAL_BIND(m, surfel_projection_backward);
    NEURAL_BIND(m, trilinear_forward);
}
