"""One specialisation of every CUDA kernel: what the compile gate compiles for each architecture.

A new `.cu` file, or a new kernel in one, needs a line here; test_compile_gate.py says so. Choose the form that uses
the most registers and shared memory of those in use.
"""

from neural.cuda import stages
from neural.cuda.mlp_spec import MLPSpec

ARCHITECTURES = ("sm_75", "sm_80", "sm_89", "sm_90", "sm_100", "sm_120")

# The radiance field that training makes where nothing else is asked for, in an unbounded scene.
_FIELD = stages.radiance(
    stages.UnitCube(1.0, True), stages.Encode("hash_grid", 16, 2, 1, 1, 0), stages.Network(MLPSpec(32, 16, 64, 1)),
    stages.Density("exp", -1.0, 1.0), stages.Directions(4),
    MLPSpec(32, 3, 64, 2, output_activation="sigmoid"),
)  # fmt: skip

# source, defines, kernels
SPECIALISATIONS: list[tuple[str, dict[str, int | str], list[str]]] = [
    ("adam", {"FEATURES": 8, "LAZY": 1}, ["adam_step"]),
    *(
        (
            "axis_encoding",
            {"KIND": kind, "N_PER_AXIS": 16},
            ["axis_encoding_forward", "axis_encoding_backward", "axis_encoding_backward_backward"],
        )
        for kind in (0, 1)
    ),
    (
        "cell_blend",
        {},
        ["cell_blend_forward", "cell_blend_backward_features", "cell_blend_backward_weights"],
    ),
    ("cell_sort", {"DIMS": 7}, ["cell_sort_find", "cell_sort_place"]),
    (
        "compact",
        {},
        ["visible_mark", "visible_fill", "compact_samples", "compact_gather", "compact_scatter"],
    ),
    ("composite", {"CHANNELS": 16}, ["composite_forward", "composite_backward"]),
    ("distortion", {}, ["distortion_forward", "distortion_backward"]),
    (
        "frequency",
        {"N_FREQUENCIES": 12},
        ["frequency_forward", "frequency_backward", "frequency_backward_backward"],
    ),
    ("gaussian_noise", {}, ["gaussian_noise"]),
    (
        "gaussian_blend",
        {"CHANNELS": 16},
        [
            "gaussian_blend_pack",
            "gaussian_blend_forward",
            "gaussian_blend_states",
            "gaussian_blend_backward",
            "gaussian_blend_gather",
        ],
    ),
    (
        "gaussian_measures",
        {},
        [
            "gaussian_measures_states",
            "gaussian_contributions",
            "gaussian_contributions_gather",
            "gaussian_median_depth",
        ],
    ),
    ("gaussian_tiles", {}, ["gaussian_tiles_count", "gaussian_tiles_keys"]),
    ("gaussian_color", {"DEGREE": 3}, ["gaussian_color_forward", "gaussian_color_backward"]),
    ("gaussian_projection", {"MODEL": 0}, ["gaussian_projection_forward", "gaussian_projection_backward"]),
    ("gaussian_projection", {"MODEL": 2}, ["gaussian_projection_forward", "gaussian_projection_backward"]),
    ("gaussian_projection", {"MODEL": 3}, ["gaussian_projection_forward", "gaussian_projection_backward"]),
    (
        "occupancy",
        {},
        [
            "occupancy_points",
            "occupancy_decay",
            "occupancy_raise",
            "occupancy_sums",
            "occupancy_pack",
            "occupancy_pool",
        ],
    ),
    ("philox", {}, ["philox_uniform"]),
    ("fused", stages.cuda_source(_FIELD) | {"CONE": 1}, ["fused_forward"]),
    (
        "probed_grid",
        {
            "DIMS": 4,
            "FEATURES": 8,
            "INTERPOLATION": 2,
            "OUTSIDE": 2,
            "TABLE_DTYPE": 0,
            "LOG2_CODES": 12,
            "LOG2_PROBES": 4,
        },
        [
            "probed_grid_forward",
            "probed_grid_backward_table",
            "probed_grid_backward_positions",
            "probed_grid_backward_backward",
        ],
    ),
    ("ray_march", {"CONE": 1}, ["ray_march_count", "ray_march_write"]),
    ("ray_points", {}, ["ray_points_forward", "ray_points_backward"]),
    (
        "hash_grid",
        {"DIMS": 4, "FEATURES": 4, "INTERPOLATION": 2, "OUTSIDE": 2, "TABLE_DTYPE": 1},
        [
            "hash_grid_forward",
            "hash_grid_backward_table",
            "hash_grid_backward_positions",
            "hash_grid_backward_backward",
        ],
    ),
    ("metric_maps", {"KIND": 0}, ["metric_maps_forward", "metric_maps_backward", "metric_maps_backward_backward"]),
    (
        "modulated_sine",
        {"N_COORDINATES": 3, "N_FEATURES": 32, "N_GRIDS": 3, "N_OUT": 4, "WIDTH": 128, "N_HIDDEN": 8},
        ["modulated_sine_forward", "modulated_sine_backward", "modulated_sine_reduce"],
    ),
    (
        "level_blend",
        {"FEATURES": 8, "ORDER": 2},
        ["level_blend_forward", "level_blend_spread", "level_blend_dot"],
    ),
    (
        "simplex",
        {"DIMS": 7, "FEATURES": 4, "LATTICE": 2, "OUTSIDE": 1, "TABLE_DTYPE": 1},
        ["simplex_forward", "simplex_backward_table", "simplex_backward_positions", "simplex_backward_backward"],
    ),
    (
        "mlp",
        {"N_IN": 32, "N_OUT": 16, "WIDTH": 64, "N_HIDDEN": 2, "BIAS": 1, "ACTIVATION": 4, "OUTPUT_ACTIVATION": 6},
        ["mlp_forward", "mlp_backward", "mlp_backward_backward", "mlp_reduce"],
    ),
    (  # sine, whose range reduction takes registers, and the short tiles of wide networks
        "mlp",
        {"N_IN": 63, "N_OUT": 70, "WIDTH": 128, "N_HIDDEN": 8, "BIAS": 1, "ACTIVATION": 5, "OUTPUT_ACTIVATION": 0},
        ["mlp_forward", "mlp_backward", "mlp_backward_backward", "mlp_reduce"],
    ),
    (
        "spherical_harmonics",
        {"DEGREE": 8},
        ["spherical_harmonics_forward", "spherical_harmonics_backward"],
    ),
    ("ssim", {"BYTES": 1}, ["ssim_loss"]),
    (
        "surfel_blend",
        {"CHANNELS": 16},
        [
            "surfel_blend_pack",
            "surfel_blend_forward",
            "surfel_blend_states",
            "surfel_blend_backward",
            "surfel_blend_gather",
        ],
    ),
    ("surfel_projection", {}, ["surfel_projection_forward", "surfel_projection_backward"]),
    ("trilinear", {"CHANNELS": 4, "DTYPE": 2}, ["trilinear_forward"]),
]
