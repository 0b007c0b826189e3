"""The radiance field and its training step as one would write them in plain torch: the peer of `radiance`.

Same encoding, networks, direction features, early stop, loss and optimiser settings. The samples' places come from our
marcher (a plain-torch one would be slower), which favours this peer.
"""

import torch
from torch import Tensor, nn

from neural.cuda import levels as layout
from neural.cuda.ray_march import Samples
from neural.fields.radiance import RadianceField
from neural.rays import Rays
from neural.render.waves import densities_along
from tests.bench.peers import TorchHashGrid


class PlainField:
    """Density and colour with torch's own ops; starts from the values of one of our fields."""

    def __init__(self, field: RadianceField) -> None:
        rows = field.encoding.levels[0]
        entries = [field.encoding.table.detach()[o : o + n] for o, n in rows[:, :2].tolist()]
        scales = layout.scales(rows)[:, 0].tolist()
        self.grid = TorchHashGrid(entries, scales, layout.resolutions(rows)[:, 0].tolist())
        self.density_net, self.color_net = copied(field.density_mlp), copied(field.color_mlp)
        self.low = -field.half_side
        self.half_side, self.bias = field.half_side, field.density_bias
        parameters = [*self.grid.tables, *self.density_net.parameters(), *self.color_net.parameters()]
        self.optimiser = torch.optim.Adam(parameters, lr=1e-2, betas=(0.9, 0.99), eps=1e-15, fused=True)

    def density(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        unit = (positions - self.low) / (2 * self.half_side)
        geo = self.density_net(self.grid.vectorised(unit.contiguous()))
        return (geo[:, 0] + self.bias).exp() / self.half_side, geo

    def color(self, directions: Tensor, geo: Tensor) -> Tensor:
        return self.color_net(torch.cat([harmonics(directions), geo], -1)).sigmoid()

    def step(self, rays: Rays, samples: Samples, target: Tensor, background: Tensor, early_stop: float) -> float:
        """Looks densities up, shades what can be seen, composites, follows the gradient; gives the loss."""
        index, starts = samples.ray_indices, samples.packed_info[:, 0]
        middles = (samples.t_starts + samples.t_ends) / 2
        lengths = samples.t_ends - samples.t_starts
        with torch.no_grad():
            found, _ = densities_along(self, rays, samples, early_stop=early_stop)  # type: ignore[arg-type]
            through = _before(found * lengths, index, starts)
            kept = torch.nonzero(through < -torch.tensor(early_stop).log())[:, 0]
        index = index[kept]
        directions = rays.directions[index]
        densities, geo = self.density(rays.origins[index] + middles[kept, None] * directions)
        rgb = self.color(directions, geo)
        counts = torch.bincount(index, minlength=len(starts))
        thickness = densities * lengths[kept]
        weights = (-_before(thickness, index, counts.cumsum(0) - counts)).exp() * (1 - (-thickness).exp())
        shown = torch.zeros(len(starts), 3).index_add(0, index, weights[:, None] * rgb)
        alpha = torch.zeros(len(starts)).index_add(0, index, weights)
        shown = shown + (1 - alpha)[:, None] * background
        loss = nn.functional.huber_loss(shown, target, delta=0.1) * 2
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return float(loss.detach())


def _before(values: Tensor, index: Tensor, starts: Tensor) -> Tensor:
    """Per sample, the sum of the values before it on its ray."""
    total = torch.cat([values.new_zeros(1), values.cumsum(0)])
    return total[:-1] - total[starts.clamp(max=len(values))][index]


def copied(mlp: nn.Module) -> nn.Sequential:
    """Our network as torch.nn modules without the output activation."""
    modules: list[nn.Module] = []
    for weights, _ in mlp.layers():  # type: ignore[operator]
        linear = nn.Linear(weights.shape[1], weights.shape[0], bias=False)
        with torch.no_grad():
            linear.weight.copy_(weights)
        modules += [linear, nn.ReLU()]
    return nn.Sequential(*modules[:-1])


def harmonics(directions: Tensor) -> Tensor:
    """Real spherical harmonics of degree 4 by their polynomials."""
    x, y, z = directions.unbind(-1)
    xx, yy, zz = x * x, y * y, z * z
    columns = [
        torch.full_like(x, 0.28209479), -0.48860251 * y, 0.48860251 * z, -0.48860251 * x,
        1.09254843 * x * y, -1.09254843 * y * z, 0.94617470 * zz - 0.31539157, -1.09254843 * x * z,
        0.54627422 * (xx - yy), 0.59004359 * y * (yy - 3 * xx), 2.89061144 * x * y * z,
        0.45704580 * y * (1 - 5 * zz), 0.37317633 * z * (5 * zz - 3), 0.45704580 * x * (1 - 5 * zz),
        1.44530572 * z * (xx - yy), 0.59004359 * x * (3 * yy - xx),
    ]  # fmt: skip
    return torch.stack(columns, -1)
