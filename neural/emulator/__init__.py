"""A model of the NGPC accelerator: what its units would make of an application whose times are known.

The accelerator (Mubarik et al. 2023) puts k units beside a GPU. A unit has one engine per level of the encoding, each
with a memory of its own for that level's table, and one array of multipliers that takes a layer of the MLP per pass.
The GPU keeps the rest (rays, marching, compositing), fused into one kernel, and works on one batch while the units
work on the next. No such chip exists and the paper's own emulator was not published, so this one is built from the
paper's description and says how far it is from the paper's figures.

Per frame of S samples, in seconds:

    cycles   = max(c_enc, c_mlp)                                    of a sample in one unit, the two being pipelined
    c_enc    = 1 / floor(E / L) or ceil(L / E), times ceil(2^d / banks)        E engines, L levels, 2^d corners each
    c_mlp    = sum over layers of ceil(in / A) ceil(out / A)                    array of A x A multipliers
    t_units  = S cycles / (k clock) + t_miss
    t_gpu    = t_rest / 9.94                                                    the rest, fused
    T(k)     = max(t_units, t_gpu) + min(t_units, t_gpu) / batches              two stages, the shorter fills once
    speed-up = (t_enc + t_mlp + t_rest) / T(k)

and it can never exceed (t_enc + t_mlp + t_rest) / t_gpu, the line of Amdahl's law.

One number is calibrated, once for all applications and all k: `clock`, which the paper does not state. Two switches
open what its critics found missing, both off in the paper's figures:

- `table_misses`: a level whose table is larger than its engine's memory sends the lookups that miss to the GPU's
  caches, where one costs what it costs the GPU today: t_miss = t_enc times their share, whatever k is.
- `fused_baseline`: the GPU that is compared with gets the fused rest, too, which is software.

`neural.emulator.model` has the model, `neural.emulator.paper` the paper's applications and claims, each figure marked
with where it comes from, and the calibration. Units: seconds, bytes, hertz.

Source: Mubarik et al. 2023, arXiv:2303.05735. The formulas above, the miss term and the derived per-application shares
are ours.
"""

from neural.emulator.model import Accelerator, Application, Prediction, Shape, plateau, predict
from neural.emulator.paper import calibrated, paper_applications

__all__ = [
    "Accelerator",
    "Application",
    "Prediction",
    "Shape",
    "calibrated",
    "paper_applications",
    "plateau",
    "predict",
]
