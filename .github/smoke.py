"""What every wheel must do, run outside the checkout: load the kernels and run one op forward and backward."""

import torch

from neural.cuda import native
from neural.cuda.spherical_harmonics import spherical_harmonics

directions = torch.nn.functional.normalize(torch.randn(1000, 3), dim=-1).requires_grad_()
features = spherical_harmonics(directions, 2)
features.square().sum().backward()
assert directions.grad is not None
# degree 2 sums to a constant over the sphere (Unsoeld's theorem): 4 / (4 pi)
torch.testing.assert_close(features.square().sum(-1), torch.full((1000,), 1 / torch.pi))
print(f"neural.cuda.native runs {native.active_isa()} of {', '.join(native.available_isas())}")
