"""Adam over named parameters.

optimiser = Adam([
    Group({"table": grid.table}, lr=1e-2, eps=1e-15, lazy=True, buffers={"table": buffer}),
    Group(dict(mlp.named_parameters()), lr=1e-2, l2=1e-6, ema=0.95),
])
loss.backward(); optimiser.step(lr_scale=schedule(step)); optimiser.zero_grad()

`adam` is the optimiser and `group` what it is made of; `rows` lets its state follow parameters that are sorted, thinned
or grown, `averages` has the averages over the steps, `handed` the steps that backward passes make.
"""

from neural.optim.adam import Adam as Adam
from neural.optim.averages import saved_averages as saved_averages
from neural.optim.group import Group as Group
from neural.optim.rows import extend_torch as extend_torch
