"""Bytes that Gaussians take, in a file and in training; and sizes as they are typed. No torch."""

import re

BYTES_PER_SPLAT = {0: 68, 1: 104, 2: 164, 3: 248}  # of the .ply, by SH degree
PLY_HEADER = 1600  # bytes, at most
STATE_BYTES = {0: 224, 1: 368, 2: 608, 3: 944}  # of one Gaussian in training: value, gradient, two moments, fp32
STEP_BYTES = 500  # more at the peak, where all are in view: the projection, its gradients, copies while they are sorted
_SIZE = re.compile(r"\s*([0-9]*\.?[0-9]+)\s*([kMG]?)B?\s*")
_UNITS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}


def parse_size(text: str) -> float:
    """Bytes of "10MB", "800 kB", "1.5G" or "4096".

    Raises:
        ValueError: Anything else.
    """
    match = _SIZE.fullmatch(text)
    if match is None or float(match[1]) <= 0:
        raise ValueError(f"--model.target must be a size such as 10MB or 800kB, got {text!r}")
    return float(match[1]) * _UNITS[match[2]]
