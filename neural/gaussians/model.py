"""A Gaussian scene as trainable parameters, with its ways in and out: points, chance, files."""

import math
from collections.abc import Iterable
from typing import Self

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from neural.gaussians import order
from neural.gaussians.neighbours import nearest_distances
from neural.gaussians.surface import turned_to
from neural.morton import morton_order
from neural.scenes.files.gaussians.record import SH_C0, SH_COUNTS, Placement, SplatRecord

_NOWHERE = Placement()  # nothing is known, nothing was taken off
_THICKNESS = 0.1  # of a disc, over its radius
_SMALLEST_SPACING = 1e-7  # of the extent of all points: what points at one place are given


class Gaussians(nn.Module):
    """N anisotropic Gaussians with opacity and colour that depends on the view; parameters before activation.

    Attributes:
        means: Centres in scene units.
        quats: Rotations, w x y z, of any length above 0.
        log_scales: Logarithms of the standard deviations along the rotated axes.
        opacity_logits: Opacities before the sigmoid.
        sh0: Spherical harmonics of degree 0; sRGB = 0.5 + 0.2820948 sh0 + ...
        shN: Those above, K = 0, 3, 8 or 15.
        antialiased: Rendered with the compensation for the 2D low-pass filter.
        surfels: Trained as 2D Gaussians, flat along the third axis; files say so.
        placement: Where the file they are of lies in the world; known from files, and carried along with rows.

    Args:
        means, quats, log_scales, opacity_logits, sh0, shN: Initial values, taken over without a copy; float32,
            contiguous, on one device.
        antialiased, surfels, placement: As above.

    Raises:
        ValueError: A shape that does not fit.

    Source: Kerbl et al. 2023, arXiv:2308.04079.
    """

    means: nn.Parameter
    quats: nn.Parameter
    log_scales: nn.Parameter
    opacity_logits: nn.Parameter
    sh0: nn.Parameter
    shN: nn.Parameter

    def __init__(
        self,
        means: Float[Tensor, "N 3"],
        quats: Float[Tensor, "N 4"],
        log_scales: Float[Tensor, "N 3"],
        opacity_logits: Float[Tensor, "N"],
        sh0: Float[Tensor, "N 3"],
        shN: Float[Tensor, "N K 3"],
        *,
        antialiased: bool = False,
        surfels: bool = False,
        placement: Placement = _NOWHERE,
    ) -> None:
        super().__init__()
        n = len(means)
        tensors = {"means": means, "quats": quats, "log_scales": log_scales, "opacity_logits": opacity_logits}
        tensors |= {"sh0": sh0, "shN": shN}
        coefficients = shN.shape[1] if shN.ndim == 3 else -1
        if coefficients not in SH_COUNTS:
            raise ValueError(f"Gaussians: shN must be [N, K, 3] with K one of {SH_COUNTS}, got {list(shN.shape)}")
        shapes = ((n, 3), (n, 4), (n, 3), (n,), (n, 3), (n, coefficients, 3))
        for (name, tensor), shape in zip(tensors.items(), shapes, strict=True):
            if tensor.shape != shape:
                raise ValueError(f"Gaussians: {name} must be {list(shape)}, got {list(tensor.shape)}")
            setattr(self, name, nn.Parameter(tensor.detach().float().contiguous()))
        self.antialiased, self.surfels, self.placement = antialiased, surfels, placement

    @classmethod
    def from_points(
        cls,
        points: Float[Tensor, "N 3"],
        colors: Float[Tensor, "N 3"] | UInt8[Tensor, "N 3"],
        *,
        sh_degree: int = 3,
        opacity: float = 0.1,
        scale: float = 1.0,
        antialiased: bool = False,
        normals: Float[Tensor, "N 3"] | None = None,
    ) -> Self:
        """One Gaussian for each point, as large as the mean distance of its three nearest neighbours, and round.

        Args:
            points: At least two, in scene units.
            colors: sRGB in [0, 1], or bytes.
            sh_degree: 0 to 3; coefficients above degree 0 start at zero.
            opacity: Of every Gaussian, between 0 and 1.
            scale: Times the mean distance.
            antialiased: See the class.
            normals: Of length 1, for points of a surface: Gaussians then are discs that lie on it, a tenth as thick.

        Raises:
            ValueError: Fewer than two points, shapes that do not fit, or points that are not finite.
        """
        n = len(points)
        if n < 2 or points.shape != (n, 3) or colors.shape != (n, 3):
            raise ValueError(
                "Gaussians.from_points: points and colors must be [N, 3] with N at least 2, "
                f"got {list(points.shape)} and {list(colors.shape)}; use random() where there are none"
            )
        if not bool(points.isfinite().all()):
            raise ValueError("Gaussians.from_points: points must be finite; remove those that are not")
        spacing = nearest_distances(points, min(3, n - 1)).mean(dim=1)
        extent = float((points.amax(dim=0) - points.amin(dim=0)).max())
        sizes = scale * spacing.clamp_min(max(_SMALLEST_SPACING * extent, 1e-30))
        means = points.detach().to(torch.float32, copy=True)
        if colors.dtype == torch.uint8:
            colors = colors.float() / 255
        made = cls._plain(means, colors, sizes.log(), sh_degree, opacity, antialiased)
        if normals is not None:
            made.quats.data.copy_(turned_to(normals))
            made.log_scales.data[:, 2] += math.log(_THICKNESS)
        return made

    @classmethod
    def random(
        cls,
        n: int,
        box: Float[Tensor, "2 3"],
        *,
        seed: int = 0,
        sh_degree: int = 3,
        opacity: float = 0.1,
        scale: float = 1.0,
        antialiased: bool = False,
    ) -> Self:
        """Round Gaussians of any colour, evenly spread over a box, each as large as a share of its volume.

        Args:
            n: How many.
            box: Smallest and largest corner, in scene units; its device is that of the result.
            seed: Of the places and colours; the same on every device.
            sh_degree: 0 to 3.
            opacity: Of every Gaussian, between 0 and 1.
            scale: Times the spacing (volume / n)^(1/3).
            antialiased: See the class.

        Raises:
            ValueError: n below 1, or a box without volume.
        """
        low, high = box.detach().cpu().float()
        volume = float((high - low).double().prod())
        if n < 1 or not volume > 0 or not bool((high > low).all()):
            raise ValueError(f"Gaussians.random: needs n > 0 and a box with volume, got n = {n} and {box.tolist()}")
        generator = torch.Generator().manual_seed(seed)
        means = low + (high - low) * torch.rand(n, 3, generator=generator)
        colors = torch.rand(n, 3, generator=generator)
        log_scales = torch.full((n,), scale * (volume / n) ** (1 / 3)).log()
        made = cls._plain(means, colors, log_scales, sh_degree, opacity, antialiased)
        return made.to(box.device)

    @classmethod
    def _plain(
        cls,
        means: Float[Tensor, "N 3"],
        colors: Float[Tensor, "N 3"],
        log_scales: Float[Tensor, "N"],
        sh_degree: int,
        opacity: float,
        antialiased: bool,
    ) -> Self:
        """Round Gaussians of one opacity whose colour is the same from everywhere."""
        if sh_degree not in range(len(SH_COUNTS)):
            raise ValueError(f"Gaussians: sh_degree must be 0 to {len(SH_COUNTS) - 1}, got {sh_degree}")
        if not 0 < opacity < 1:
            raise ValueError(f"Gaussians: opacity must be between 0 and 1, got {opacity}")
        n = len(means)
        return cls(
            means,
            means.new_tensor([1.0, 0.0, 0.0, 0.0]).repeat(n, 1),
            log_scales[:, None].repeat(1, 3),
            torch.logit(means.new_full((n,), opacity)),
            (colors.to(means) - 0.5) / SH_C0,
            means.new_zeros(n, SH_COUNTS[sh_degree], 3),
            antialiased=antialiased,
        )

    @classmethod
    def from_record(cls, record: SplatRecord) -> Self:
        """The scene of a file, on the CPU."""
        arrays = (torch.from_numpy(getattr(record, name).copy()) for name in _NAMES)
        return cls(*arrays, antialiased=record.antialiased, surfels=record.surfels, placement=record.placement)

    def to_record(self) -> SplatRecord:
        """What a file holds of it; a copy.

        Raises:
            ValueError: No Gaussian, or a parameter that is not finite.
        """
        arrays = {name: getattr(self, name).detach().cpu().numpy().astype(np.float32) for name in _NAMES}
        return SplatRecord(**arrays, antialiased=self.antialiased, surfels=self.surfels, placement=self.placement)

    @property
    def n(self) -> int:
        """Number of Gaussians."""
        return len(self.means)

    @property
    def sh_degree(self) -> int:
        """Degree of the colours, 0 to 3."""
        return SH_COUNTS.index(self.shN.shape[1])

    def sort_morton(self, state: Iterable[Tensor] = ()) -> Int[Tensor, "N"]:
        """Put the Gaussians in Morton order of their means, in place.

        Args:
            state: What must keep to the Gaussians: an optimiser's `state_dict().values()`, counters of a densifier.
                Tensors without N rows are left alone.

        Returns:
            The permutation: row i is what row `permutation[i]` was.
        """
        permutation = morton_order(self.means.detach())
        self.permute(permutation, state)
        return permutation

    def taken(self, rows: Int[Tensor, "M"]) -> Self:
        """Copies of some rows, to be trained or drawn in their place."""
        parts = {name: getattr(self, name).detach().index_select(0, rows) for name in _NAMES}  # 25 times [rows]
        return type(self)(**parts, antialiased=self.antialiased, surfels=self.surfels, placement=self.placement)

    def permute(self, permutation: Int[Tensor, "N"], state: Iterable[Tensor] = ()) -> None:
        """Put parameters, their gradients and `state` in a new order, in place; see `sort_morton`."""
        gradients = [param.grad for param in self.parameters() if param.grad is not None]
        order.permute([*self.parameters(), *gradients, *state], permutation)

    @torch.no_grad()
    def cluster_boxes(self) -> Float[Tensor, "G 2 3"]:
        """Box of each run of `order.CLUSTER` Gaussians, out to where their opacity is below 1/255; sort them first."""
        half = order.half_extents(self.quats, self.log_scales)
        return order.boxes(self.means - half, self.means + half)

    def extra_repr(self) -> str:
        return f"n={self.n}, sh_degree={self.sh_degree}, antialiased={self.antialiased}"


_NAMES = ("means", "quats", "log_scales", "opacity_logits", "sh0", "shN")
