"""Rasterising 100 000 Gaussians at 640x360: tiles, blending, and its backward against the arithmetic that they need.

The bound of blending counts the pairs of a Gaussian and a pixel that are blended: 45 flop each forward and 90 backward,
at the multiply-add rate of the same rounds. What the kernels look at without blending it is not in the bound.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from neural.cuda import gaussian_blend, native
from neural.cuda.gaussian_tiles import intersect
from tests.bench.harness import Row, Size, Spread, Times, instruction_set, interleave, threads, two_threads
from tests.gaussian_scenes import Scene, layered

FLOP = {"forward": 45, "backward": 90}  # of a blended pair
BAR = 6.0  # times the bound


@dataclass
class Rasteriser:
    """The scene, and the three pieces of work as a training step does them."""

    scene: Scene
    grad_colors: Tensor = field(init=False)
    leaves: list[Tensor] = field(init=False)
    colors: Tensor = field(init=False)

    def __post_init__(self) -> None:
        scene = self.scene
        width, height = scene.size
        generator = torch.Generator().manual_seed(1)
        self.grad_colors = torch.randn(3, height, width, generator=generator).permute(1, 2, 0)
        given = scene.means2d, scene.conics, scene.opacities, scene.features
        self.leaves = [x.detach().requires_grad_() for x in given]
        self.tiles()
        self.forward()

    def tiles(self) -> None:
        scene = self.scene
        self.pairs = intersect(scene.means2d, scene.conics, scene.opacities, scene.depths, scene.extents, scene.size)

    def forward(self) -> None:
        self.colors = gaussian_blend.blend(*self.leaves, self.pairs, self.scene.size).colors

    def backward(self) -> None:
        torch.autograd.grad(self.colors, self.leaves, self.grad_colors, retain_graph=True)

    def whole(self) -> None:
        self.tiles()
        self.forward()
        self.backward()

    def blended(self) -> int:
        """Pairs of a Gaussian and a pixel that are blended; the tests hold this count to a float64 oracle."""
        scene = self.scene
        counts, _ = gaussian_blend.contributions(scene.means2d, scene.conics, scene.opacities, self.pairs, scene.size)
        return int(counts.sum())


def run(size: Size) -> list[Row]:
    n, image, repeats, iterations = (100_000, (640, 360), 15, 2_000_000) if size == "full" else (500, (64, 36), 2, 1000)
    work = Rasteriser(layered(n, image))
    blended = work.blended()
    rows = [
        Row("tiles of a Gaussian", Spread.of([len(work.pairs.gaussians) / n]), ""),
        Row("blended pixels of a Gaussian", Spread.of([blended / n]), ""),
    ]
    with threads(1):
        for isa in reversed(native.available_isas()):
            rows += _one_thread(isa, work, blended, repeats, iterations)
    rows.append(two_threads("tiles, forward, backward", work.whole, size))
    return rows


def _one_thread(isa: str, work: Rasteriser, blended: int, repeats: int, iterations: int) -> list[Row]:
    """Times of one instruction set; the bound takes the machine's widest multiply-adds."""
    flop: list[float] = []

    def multiply_adds() -> None:
        with instruction_set(native.available_isas()[-1]):
            flop.append(native.lib.fma_peak(iterations))

    contenders = {"rate": multiply_adds, "tiles": work.tiles, "forward": work.forward, "backward": work.backward}
    with instruction_set(isa):
        times = interleave(contenders, repeats)
    rows = [Row(f"{isa}: {name}", times.of(name), "ms", note="CPU time") for name in list(contenders)[1:]]
    for name, per_pair in FLOP.items():
        ratio = _over_bound(times, name, flop[-1], blended * per_pair)
        bar = BAR if isa == "avx512" else None
        rows.append(Row(f"{isa}: {name} over its bound", ratio, "x", at_most=bar))
    return rows


def _over_bound(times: Times, name: str, flop_of_loop: float, flop: int) -> Spread:
    pairs = zip(times.seconds[name], times.seconds["rate"], strict=True)
    return Spread.of([seconds / (flop * loop / flop_of_loop) for seconds, loop in pairs])
