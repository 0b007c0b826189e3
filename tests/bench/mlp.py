"""The fused MLP against torch.nn: 32-64-64-16, ReLU, fp32, 2^18 points, the public call.

Both sides allocate their results and give gradients to inputs and weights; each takes inputs and upstream gradient in
the order in which its neighbours in a network hand them out: torch.nn row-major, ours feature-major. Freed blocks are
kept for both, as in training (without that torch.nn takes about twice as long: it maps and clears fresh pages for its
hidden layers).
"""

import torch
from torch import nn

from neural.cuda import native
from neural.mlp import MLP
from tests.bench.harness import Row, Size, Work, instruction_set, interleave, threads, two_threads

FORWARD_FLOP = 2 * (32 * 64 + 64 * 64 + 64 * 16)
# a backward pass computes the hidden layers again, then one product per layer for each of the two gradients
BACKWARD_FLOP = 2 * (32 * 64 + 64 * 64) + 2 * FORWARD_FLOP


def run(size: Size) -> list[Row]:
    points, repeats = (2**18, 9) if size == "full" else (512, 2)
    net = MLP(32, 16)
    peer = nn.Sequential(*[m for w, _ in net.layers() for m in (_linear(w), nn.ReLU())][:-1])
    ours, theirs = _work(net, points, feature_major=True), _work(peer, points, feature_major=False)
    rows = []
    with threads(1):
        for kind, flop, bar in (
            ("forward", FORWARD_FLOP, None),
            ("forward+backward", FORWARD_FLOP + BACKWARD_FLOP, 3.5),
        ):
            times = interleave({"neural": ours[kind], "torch.nn": theirs[kind]}, repeats)
            rate = flop * points / times.of("neural", 1.0).median / 1e9
            rows += [
                Row(f"{kind}, neural", times.of("neural"), "ms", note=f"CPU time, 1 thread, {rate:.0f} GFLOP/s"),
                Row(f"{kind}, torch.nn", times.of("torch.nn"), "ms"),
                Row(f"{kind}: over torch.nn", times.ratio("torch.nn", "neural"), "x", at_least=bar),
            ]
        if {"avx2", "avx512"} <= set(native.available_isas()):
            times = interleave({isa: _within(isa, ours["forward+backward"]) for isa in ("avx2", "avx512")}, repeats)
            rows.append(Row("forward+backward: AVX2 over AVX-512", times.ratio("avx2", "avx512"), "x", at_most=2.2))
    return [*rows, two_threads("forward+backward", ours["forward+backward"], size)]


def _work(net: nn.Module, points: int, *, feature_major: bool) -> dict[str, Work]:
    inputs, upstream = torch.randn(points, 32), torch.randn(points, 16)
    if feature_major:
        inputs, upstream = inputs.t().contiguous().t(), upstream.t().contiguous().t()
    inputs.requires_grad_()

    def forward() -> None:
        with torch.no_grad():
            net(inputs)

    def both() -> None:
        inputs.grad = None
        net.zero_grad()
        net(inputs).backward(upstream)

    return {"forward": forward, "forward+backward": both}


def _within(isa: str, work: Work) -> Work:
    def run_it() -> None:
        with instruction_set(isa):
            work()

    return run_it


def _linear(weights: torch.Tensor) -> nn.Linear:
    linear = nn.Linear(weights.shape[1], weights.shape[0], bias=False)
    with torch.no_grad():
        linear.weight.copy_(weights)
    return linear
