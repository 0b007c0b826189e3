"""A radiance field: density and view-dependent colour from an encoding and two tiny MLPs."""

from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from neural.encodings.spherical_harmonics import SphericalHarmonics
from neural.fields.contraction import Contraction, to_unit_cube
from neural.mlp import MLP

MAX_LOG_DENSITY = 15.0  # nerfacc's truncation of exp's gradient


class RadianceField(nn.Module):
    """Density by encoding and MLP, colour by a second MLP that also sees the direction.

    The density network's outputs all go on to the colour network; the first, through `density_activation`, is the
    density. Space is mapped to the encoding's unit cube from the enclosing cube of `aabb`, or from all of R^3 by a
    contraction around it.

    Positions are in the field's frame: the scene's axes and unit, (0, 0, 0) in the middle of `aabb`. So float32 does as
    well for a capture in UTM metres as for one about the origin; `Cameras.relative_to(field.origin)` is the way there.

    Args:
        encoding: Positions in [0, 1]^3 to features, as `neural.HashGrid(3)`.
        aabb: Scene box [2, 3], scene units.
        contraction: `none`: the box is all there is. `ball`: the box's inscribed ball fills the middle of the unit
            cube, everything beyond shrinks into the shell around it (mip-NeRF 360).
        density_width: Width of the density network.
        density_layers: Its hidden layers.
        geo_features: Features beside the density that it hands to the colour network.
        color_width: Width of the colour network.
        color_layers: Its hidden layers.
        sh_degree: Spherical harmonics of the direction: degree^2 features.
        n_images: Images that have an appearance embedding of their own; 0 for none.
        appearance_dims: Length of that embedding.
        density_activation: `exp` or `softplus`.
        density_bias: Added to the network's output before the activation.
        seed: Of the networks' initial values.

    Attributes:
        origin: Middle of `aabb`, float64: where the field's frame has its origin in the scene's.
        half_side: Half the side of the enclosing cube.

    Source: Mueller et al. 2022, arXiv:2201.05989, section 5.4; contraction: Barron et al. 2022, arXiv:2111.12077,
    eq. 10.
    """

    def __init__(
        self,
        encoding: nn.Module,
        *,
        aabb: Float[Tensor, "2 3"],
        contraction: Contraction = "none",
        density_width: int = 64,
        density_layers: int = 1,
        geo_features: int = 15,
        color_width: int = 64,
        color_layers: int = 2,
        sh_degree: int = 4,
        n_images: int = 0,
        appearance_dims: int = 0,
        density_activation: Literal["exp", "softplus"] = "exp",
        density_bias: float = -1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if (n_images > 0) != (appearance_dims > 0):
            raise ValueError(
                f"n_images and appearance_dims go together, got {n_images} and {appearance_dims}; set both or neither"
            )
        box = torch.as_tensor(aabb, dtype=torch.float64)
        if box.shape != (2, 3) or not bool((box[1] > box[0]).all()):
            raise ValueError(f"aabb must be [[x0, y0, z0], [x1, y1, z1]] with x1 > x0 and so on, got {box.tolist()}")
        self.encoding = encoding
        self.contraction: Contraction = contraction
        self.density_activation = density_activation
        self.density_bias = density_bias
        self.origin = box.mean(0)
        self.half_side = float((box[1] - box[0]).max()) / 2
        self.direction_encoding = SphericalHarmonics(sh_degree)
        self.n_geo = n_geo = 1 + geo_features
        n_features: int = encoding.n_output_dims  # type: ignore[assignment]
        self.density_mlp = MLP(n_features, n_geo, width=density_width, n_hidden_layers=density_layers, seed=seed)
        self.color_mlp = MLP(
            sh_degree**2 + n_geo + appearance_dims, 3, width=color_width, n_hidden_layers=color_layers,
            output_activation="sigmoid", seed=seed + 1,
        )  # fmt: skip
        self.appearance = nn.Parameter(torch.zeros(n_images, appearance_dims)) if appearance_dims else None

    def density(self, positions: Float[Tensor, "S 3"]) -> tuple[Float[Tensor, "S"], Float[Tensor, "S G"]]:
        """Density (1 / scene unit) and the features for `color`, at positions in the field's frame."""
        unit = to_unit_cube(positions, self.half_side, self.contraction)
        geo = self.density_mlp(self.encoding(unit))
        return self.density_of(geo), geo

    def density_of(self, geo: Float[Tensor, "S G"]) -> Float[Tensor, "S"]:
        """The density (1 / scene unit) that the features stand for; the same for a scene in any unit of length."""
        raw = geo[:, 0] + self.density_bias
        # softplus(x), whose bits depend on the number of threads in torch's own form
        active = -nn.functional.logsigmoid(-raw) if self.density_activation == "softplus" else _TruncatedExp.apply(raw)
        return active / self.half_side

    def color(
        self, directions: Float[Tensor, "S 3"], geo: Float[Tensor, "S G"], image_indices: Int[Tensor, "S"] | None = None
    ) -> Float[Tensor, "S 3"]:
        """Colour, sRGB in [0, 1], seen along unit `directions`.

        Args:
            directions: From the camera into the scene.
            geo: What `density` gave at the same samples.
            image_indices: Whose appearance to show; None shows the mean appearance.
        """
        parts = [self.direction_encoding(directions).t(), geo.t()]
        if self.appearance is not None:
            if image_indices is None:
                parts.append(self.appearance.mean(0)[:, None].expand(-1, geo.shape[0]))
            else:
                parts.append(self.appearance.index_select(0, image_indices).t())
        return self.color_mlp(torch.cat(parts, 0).t())

    def forward(
        self, positions: Float[Tensor, "S 3"], directions: Float[Tensor, "S 3"]
    ) -> tuple[Float[Tensor, "S"], Float[Tensor, "S 3"]]:
        """Density and colour."""
        densities, geo = self.density(positions)
        return densities, self.color(directions, geo)

    def extra_repr(self) -> str:
        n = sum(p.numel() for p in self.parameters())
        return f"contraction={self.contraction}, half_side={self.half_side:.4g}, {n} parameters"


class _TruncatedExp(torch.autograd.Function):
    """exp, whose gradient is exp of the clamped argument: a large density cannot blow the step up."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.exp()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad * ctx.saved_tensors[0].clamp(max=MAX_LOG_DENSITY).exp()
