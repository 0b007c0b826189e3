"""The hash grid with learned probing (Compact NGP) as a module."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from neural.cuda.hash_grid import Interpolation, Outside
from neural.cuda.probed_grid import MAX_DIMS, probed_grid
from neural.encodings.hash_grid import HashGrid

LOGIT_RANGE = 4.0  # ours: near 0 a block's entries would all get one gradient and stay alike; up to 1 dB was measured


class ProbedHashGrid(HashGrid):
    """A hash grid whose hashed levels learn, for groups of vertices, which of a few neighbouring entries they use.

    Collisions are then resolved in favour of what matters, so that a table of a quarter of the size serves. Codes
    follow the logits by themselves: the most likely one of each place, looked at anew after every write that torch
    counts. Give the logits a larger learning rate than the table (2e-1 against 2e-2 with Adam, say): only the order of
    a place's logits has any effect.

    Args:
        n_dims: D, 1 to 4.
        n_probes: P, the entries that a code chooses among: 2, 4, 8 or 16.
        log2_codebook_size: Each hashed level has 2^this codes of log2 P bits.
        log2_hashmap_size: A level holds at most 2^this entries, of which a hash chooses blocks of P.
        n_levels, n_features_per_level, base_resolution, finest_resolution, per_level_scale: As of `HashGrid`.
        interpolation, outside, seed: As of `HashGrid`.

    Attributes:
        table: All features, float32 [entries, F].
        logits: Of the codes of each hashed level, float32 [B, 2^log2_codebook_size, P].

    Raises:
        ValueError: A value out of range.

    Source: Takikawa et al. 2023, arXiv:2312.17241 (Compact NGP), section 3.

    Example:
        >>> grid = ProbedHashGrid(2, n_levels=6, finest_resolution=256, log2_hashmap_size=8, log2_codebook_size=10)
        >>> grid(torch.rand(10, 2)).shape
        torch.Size([10, 12])
    """

    def __init__(
        self,
        n_dims: int,
        *,
        n_probes: int = 4,
        log2_codebook_size: int = 12,
        log2_hashmap_size: int = 14,
        n_levels: int = 16,
        n_features_per_level: int = 2,
        base_resolution: int | Sequence[int] = 16,
        finest_resolution: int | Sequence[int] | None = None,
        per_level_scale: float | Sequence[float] | None = None,
        interpolation: Interpolation = "linear",
        outside: Outside = "clamp",
        seed: int = 0,
    ) -> None:
        if not 1 <= n_dims <= MAX_DIMS or n_probes not in (2, 4, 8, 16) or not 2 <= log2_codebook_size <= 24:
            raise ValueError(
                f"ProbedHashGrid: n_dims must be 1 to {MAX_DIMS}, n_probes 2, 4, 8 or 16 and log2_codebook_size 2 to "
                f"24, got {n_dims}, {n_probes} and {log2_codebook_size}"
            )
        super().__init__(
            n_dims, n_levels=n_levels, n_features_per_level=n_features_per_level, log2_hashmap_size=log2_hashmap_size,
            base_resolution=base_resolution, finest_resolution=finest_resolution, per_level_scale=per_level_scale,
            interpolation=interpolation, outside=outside, seed=seed,
        )  # fmt: skip
        if 2**log2_hashmap_size < n_probes:
            raise ValueError(f"ProbedHashGrid: 2^{log2_hashmap_size} entries are fewer than {n_probes} probes")
        shape = (int(self.levels[0, :, 2].sum()), 2**log2_codebook_size, n_probes)
        values = torch.rand(shape, generator=torch.Generator().manual_seed(seed + 1))
        self.logits = nn.Parameter(values.mul_(2 * LOGIT_RANGE).sub_(LOGIT_RANGE))
        self.n_probes = n_probes
        self.log2_codebook_size = log2_codebook_size
        self._codes: tuple[tuple[int, int], Tensor] | None = None

    @property
    def codes(self) -> UInt8[Tensor, "B C"]:
        """The most likely code of each place."""
        logits = self.logits
        written = None if logits.is_inference() else (id(logits), logits._version)
        if self._codes is not None and self._codes[0] == written:
            return self._codes[1]
        codes = logits.detach().argmax(-1).to(torch.uint8)
        self._codes = None if written is None else (written, codes)
        return codes

    def forward(self, x: Float[Tensor, "N D"], segments: Int[Tensor, "T1"] | None = None) -> Float[Tensor, "N K"]:
        """Features of all levels, K = n_levels * n_features_per_level; there is one table, so no `segments`."""
        if segments is not None:
            raise ValueError("ProbedHashGrid: there is one table; call it without segments")
        training = torch.is_grad_enabled()
        probabilities = self.logits.softmax(-1) if training else self.logits.detach()  # only backward passes read them
        return probed_grid(
            x, self.table, probabilities, self.codes, self.levels, level_weights=self.level_weights,
            interpolation=self.interpolation, outside=self.outside, accumulate=self.gradients if training else None,
        )  # fmt: skip

    def export_bits(self, bits_per_value: int = 16) -> int:
        """Bits that a file of this grid takes: log2 P for a code, `bits_per_value` for a feature of the table."""
        bits_per_code = self.n_probes.bit_length() - 1
        return self.table.numel() * bits_per_value + self.codes.numel() * bits_per_code

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        self._codes = None  # a deep copy or an unpickled grid: another tensor, another count

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, {self.n_probes} probes by 2^{self.log2_codebook_size} codes a level"
