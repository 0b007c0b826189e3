"""Waves of samples: together they are all samples, each once; rays that have ended take no part."""

import torch
from torch import Tensor, nn

from neural.cuda.ray_march import Samples
from neural.rays import Rays
from neural.render.waves import FIRST, Wave, densities_along, next_wave

COUNTS = (3, 0, 500, FIRST, 40, 1)


def samples() -> Samples:
    counts = torch.tensor(COUNTS)
    n = int(counts.sum())
    t_starts = torch.cat([torch.arange(c) * 0.01 for c in COUNTS])
    packed_info = torch.stack((counts.cumsum(0) - counts, counts), 1)
    return Samples(t_starts, t_starts + 0.01, torch.arange(len(COUNTS)).repeat_interleave(counts), packed_info, n)


def waves(goes_on: Tensor) -> list[Wave]:
    found: list[Wave] = []
    while (wave := next_wave(samples(), goes_on, found[-1] if found else None)) is not None:
        found.append(wave)
    return found


def test_waves_are_all_samples_each_once_in_order_of_depth() -> None:
    found = waves(torch.ones(len(COUNTS), dtype=torch.bool))
    whole = samples()
    assert sorted(torch.cat([wave.indices for wave in found]).tolist()) == list(range(len(whole)))
    assert [(wave.first, wave.last) for wave in found[:3]] == [(0, 12), (12, 36), (36, 108)]
    for wave in found:
        part = wave.samples
        torch.testing.assert_close(part.t_starts, whole.t_starts[wave.indices])
        torch.testing.assert_close(part.ray_indices, whole.ray_indices[wave.indices])
        rank = wave.indices - whole.packed_info[part.ray_indices, 0]
        assert bool(((rank >= wave.first) & (rank < wave.last)).all())
        assert part.packed_info[:, 1].tolist() == torch.bincount(part.ray_indices, minlength=len(COUNTS)).tolist()


def test_rays_that_have_ended_take_no_part() -> None:
    goes_on = torch.tensor([True, True, False, True, False, True])
    found = waves(goes_on)
    assert len(found) == 1
    assert found[0].samples.ray_indices.unique().tolist() == [0, 3, 5]


class Wall(nn.Module):
    """Opaque from x = 0.3 on; counts what is looked up."""

    looked_up = 0

    def density(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        self.looked_up += len(positions)
        return (positions[:, 0] > 0.3).float() * 5000, positions


def test_nothing_is_looked_up_behind_a_wall() -> None:
    field, whole = Wall(), samples()
    rays = Rays(torch.zeros(len(COUNTS), 3), torch.tensor([[1.0, 0, 0]]).expand(len(COUNTS), 3))
    densities, n_looked_up = densities_along(field, rays, whole, early_stop=1e-4)
    assert n_looked_up == field.looked_up
    middle = (whole.t_starts + whole.t_ends) / 2
    in_reach = middle < 0.3 + 0.01 * 6
    torch.testing.assert_close(densities[in_reach], (middle[in_reach] > 0.3).float() * 5000)
    behind = whole.ray_indices == 2  # 500 samples; the wall stands at the 30th, in the wave up to the 36th
    assert not densities[behind][36:].any()
    assert field.looked_up == sum(min(count, 36) for count in COUNTS)
