"""The paper's applications and claims, and the one number that is fitted to them.

Where each figure comes from:

- [P] the paper's abstract; [S] tables of the paper as several readers of it report them, one perhaps a machine; [R]
  recalled, never seen again; [C] instant-ngp's configurations; [D] derived here.

Per application, only the time of a frame is known, and the means of the shares over the four [S+P]: encoding 40.24 %,
MLP 32.12 %. Shares of single applications are derived from two claims [D]. The largest speed-up, 58.36, must be one at
which the fused rest is all that is left: that application's rest is 9.94 / 58.36 = 17.0 % of its frame, and the other
three share what the mean leaves, 31.2 % each. It must be NSDF, for 8K at 120 frames a second, claimed for all but NeRF
[P], takes 53.5 x there and more than 31.9 x nowhere else. Encoding and MLP divide what is left in the proportion of the
means.

Samples per frame are known for the image alone: one per pixel of 1920 x 1080. For the others they follow from the
image's seconds per lookup and per multiplication, both bound by memory [S]: 8 corners where the image has 4 [D].
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from neural.emulator.model import FUSED_REST, Accelerator, Application, Shape, predict

UNITS = (8, 16, 32, 64)
CLAIMED = {
    "hash": (12.94, 20.85, 33.73, 39.04),  # [R]; the abstract has 12, 20, 33, 39 [P]
    "dense": (9.05, 14.2, 22.6, 26.2),  # [R]
    "lowres": (9.37, 14.7, 23.0, 26.4),  # [R]
}
"""Mean speed-up over the four applications for each of UNITS, by encoding."""
CLAIMED_MAX = 58.36  # [R]; 58 [P]
CLAIMED_PLATEAU = {"NeRF": 64, "NSDF": 32, "NVR": 16}  # [S]
CLAIMED_GB_PER_SECOND = (69.0, 231.0)  # [S], at 60 frames a second, NeRF the largest
SHARES = {
    "hash": (0.4024, 0.3213),  # [S+P]: 72.37 % together [P]
    "dense": (0.2463, 0.3537),  # [R]; 60.0 % together [P]
    "lowres": (0.2415, 0.3581),  # [R]; 59.96 % together [P]
}
"""Share of (encoding, MLP) in a frame, mean over the applications."""
FRAME_SECONDS = {"NeRF": 231e-3, "NSDF": 27.87e-3, "GIA": 2.12e-3, "NVR": 6.32e-3}
"""At 1920 x 1080 with the hash grid; NeRF and GIA [S], NSDF and NVR [R]."""
PIXELS = 1920 * 1080
LARGEST = "NSDF"  # [D]
SCALE = {"NeRF": 1.51572, "NSDF": 1.38191, "GIA": 1.25992, "NVR": 1.275}  # per level, hash grid [C]; NVR [R]
OUTPUTS = {"NSDF": 1, "GIA": 3, "NVR": 4}
HIDDEN = 64


def paper_applications(encoding: str = "hash") -> tuple[Application, ...]:
    """NeRF, NSDF, GIA and NVR on the paper's GPU.

    Args:
        encoding: `hash`, `dense` (8 levels) or `lowres` (2 levels). Frame times of the last two are not known: the
            rest is taken to last as long as with the hash grid [D].

    Raises:
        ValueError: Another encoding.
    """
    if encoding not in SHARES:
        raise ValueError(f"encoding must be one of {', '.join(SHARES)}, got {encoding!r}")
    rest_shares = _rest_shares(1 - sum(SHARES["hash"]))
    encode, mlp = SHARES[encoding]
    grown = (1 - encode - mlp) / (1 - sum(SHARES["hash"]))  # of the share that the rest has in a frame
    samples = _samples(rest_shares)
    found = []
    for name, frame in FRAME_SECONDS.items():
        rest = rest_shares[name] * frame
        busy = rest / (rest_shares[name] * grown) - rest
        found.append(
            Application(
                name, busy * encode / (encode + mlp), busy * mlp / (encode + mlp), rest, samples[name],
                shape(name, encoding),
            )
        )  # fmt: skip
    return tuple(found)


def shape(name: str, encoding: str) -> Shape:
    """Of an application's field in the paper's Table 1 [C, R]."""
    n_dims = 2 if name == "GIA" else 3
    table = 24 if name == "GIA" else 19
    levels, features, base, scale, log2 = {
        "hash": (16, 2, 16, SCALE[name], table), "dense": (8, 2, 16, 1.405, 62), "lowres": (2, 8, 128, 1.0, 62)
    }[encoding]  # fmt: skip
    n_in = levels * features
    layers: tuple[tuple[int, int], ...]
    if name == "NeRF":  # density, then colour from its 16 outputs and 16 spherical harmonics
        layers = ((n_in, HIDDEN), (HIDDEN, 16), (32, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, 3))
        moved = 4 * (3 + 3) + 2 * 4
    else:
        layers = ((n_in, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, OUTPUTS[name]))
        moved = 4 * n_dims + 2 * OUTPUTS[name]
    return Shape(n_dims, levels, features, log2, base, scale, layers, moved)


def calibrated(
    accelerator: Accelerator | None = None,
    *,
    applications: Sequence[Application] | None = None,
    claimed: Sequence[float] = CLAIMED["hash"],
) -> Accelerator:
    """The accelerator with the one clock that fits the claims for all UNITS best, in the mean square of the logarithm.

    Args:
        accelerator: Everything but the clock.
        applications: Whose mean speed-up was claimed; the paper's with the hash grid without it.
        claimed: Mean speed-up for each of UNITS.

    Returns:
        A copy with that clock.
    """
    chip = accelerator or Accelerator()
    frames = applications or paper_applications()

    def off(log_clock: float) -> float:
        guess = replace(chip, clock=math.exp(log_clock))
        pairs = zip(mean_speed_ups(frames, guess), claimed, strict=True)
        return sum(math.log(found / wanted) ** 2 for found, wanted in pairs)

    # The error has kinks where an application levels off, and perhaps more than one valley: look everywhere, then close
    low, high = math.log(1e6), math.log(1e12)
    for _ in range(6):
        grid = [low + (high - low) * i / 200 for i in range(201)]
        best = min(range(201), key=lambda i: off(grid[i]))
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, 200)]
    return replace(chip, clock=math.exp((low + high) / 2))


def frames_per_second(application: Application, accelerator: Accelerator, pixels: int = PIXELS) -> float:
    """Of a picture of that many pixels; everything in a frame grows with them."""
    return PIXELS / pixels / predict(application, accelerator).seconds


def mean_speed_ups(applications: Sequence[Application], accelerator: Accelerator) -> tuple[float, ...]:
    """Over the applications, for each of UNITS."""
    return tuple(
        sum(predict(frame, replace(accelerator, units=units)).speed_up for frame in applications) / len(applications)
        for units in UNITS
    )


def _rest_shares(mean: float) -> dict[str, float]:
    """Share of the rest in each application's frame, from its mean and from the largest speed-up."""
    least = FUSED_REST / CLAIMED_MAX
    others = (mean * len(FRAME_SECONDS) - least) / (len(FRAME_SECONDS) - 1)
    return {name: least if name == LARGEST else others for name in FRAME_SECONDS}


def _samples(rest_shares: dict[str, float]) -> dict[str, float]:
    """Per frame: the time for encoding and MLP over that of one sample, which the image tells."""
    encode, mlp = SHARES["hash"]
    busy = {name: (1 - rest_shares[name]) * frame for name, frame in FRAME_SECONDS.items()}
    per_lookup = busy["GIA"] * encode / (encode + mlp) / PIXELS / _lookups(shape("GIA", "hash"))
    per_product = busy["GIA"] * mlp / (encode + mlp) / PIXELS / _products(shape("GIA", "hash"))
    found = {}
    for name in FRAME_SECONDS:
        field = shape(name, "hash")
        found[name] = busy[name] / (per_lookup * _lookups(field) + per_product * _products(field))
    return found


def _lookups(field: Shape) -> int:
    return field.n_levels * 2**field.n_dims


def _products(field: Shape) -> int:
    """Multiplications per sample; outputs are padded to 16, as the GPU's matrix units want them."""
    return sum(n_in * 16 * math.ceil(n_out / 16) for n_in, n_out in field.layers)
