"""The static page in a real browser: it draws what our own renderer draws."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from neural.scenes.files.gaussians.spz import spz
from neural.viewer import bundle
from tests.viewer import pages

pytestmark = pytest.mark.skipif(not bundle.SCRIPT.exists(), reason=f"the viewer was not built; {bundle.remedy()}")
LEAST = 25.0  # dB against our own rendering; what is reached is about 40


@pytest.mark.parametrize("antialiased", [False, True])
def test_the_page_draws_the_scene_from_a_file(tmp_path: Path, browse: Any, antialiased: bool) -> None:
    record, cameras = pages.generated(antialiased=antialiased), pages.ring()
    address = pages.written(tmp_path, record, cameras, background=(1.0, 1.0, 1.0))
    page, console = browse(f"{address}#bare&camera=2")
    page.evaluate("neural.complete")
    assert page.evaluate("neural.count") == len(record)
    assert pages.psnr(pages.shown(page), pages.rendered(record, cameras, 2, 1.0)) > LEAST + 10
    page.evaluate("neural.goTo(1)")
    page.evaluate("neural.settled()")
    picture = pages.shown(page)
    assert pages.psnr(picture, pages.rendered(record, cameras, 1, 1.0)) > LEAST + 10
    assert pages.psnr(picture, pages.rendered(record, cameras, 2, 1.0)) < LEAST  # and not because all look alike
    assert console == []


def test_colours_change_with_the_direction(tmp_path: Path, browse: Any) -> None:
    record, cameras = pages.generated(), pages.ring()
    plain = pages.generated(degree=0)
    page, _ = browse(f"{pages.written(tmp_path, record, cameras)}#bare")
    page.evaluate("neural.complete")
    seen = pages.shown(page)
    assert pages.psnr(seen, pages.rendered(record, cameras, 0)) > LEAST + 5
    assert pages.psnr(pages.rendered(plain, cameras, 0), pages.rendered(record, cameras, 0)) < LEAST
    assert np.isfinite(seen).all()


def test_nothing_is_drawn_in_the_clear_space_around_a_camera(tmp_path: Path, browse: Any) -> None:
    """A veil 0.4 before the camera is not seen from there, and is from 0.8 behind it."""
    record, cameras = pages.generated(), pages.ring()
    c2w = cameras.c2w[0].numpy().copy()
    veiled = replace(record, means=record.means.copy(), log_scales=record.log_scales.copy())
    veiled.means[0], veiled.log_scales[0] = c2w[:3, 3] + 0.4 * c2w[:3, 2], np.log(0.2)
    without = replace(record, opacity_logits=np.where(np.arange(len(record)) == 0, -20.0, record.opacity_logits))
    address = pages.written(tmp_path, veiled, cameras, clear=1.0)
    page, console = browse(f"{address}#bare&camera=0")
    page.evaluate("neural.complete")
    assert pages.psnr(pages.shown(page), pages.rendered(without, cameras, 0)) > LEAST + 5
    assert pages.psnr(pages.rendered(veiled, cameras, 0), pages.rendered(without, cameras, 0)) < LEAST - 5
    c2w[:3, 3] -= 0.8 * c2w[:3, 2]
    back = cameras[0].posed(torch.from_numpy(c2w[None]))
    numbers = [*back.intrinsics[0].tolist(), *back.sizes[0].tolist(), *c2w[:3].flatten().tolist()]
    moved, _ = browse(f"{address}#bare&view={','.join(map(str, numbers))}")
    moved.evaluate("neural.complete")
    assert pages.psnr(pages.shown(moved), pages.rendered(veiled, back, 0)) > LEAST + 5
    assert pages.psnr(pages.shown(moved), pages.rendered(without, back, 0)) < LEAST
    assert console == []


@pytest.mark.slow
def test_a_trained_scene_of_another_program(tmp_path: Path, browse: Any, neural_data: Path) -> None:
    """31,000 Gaussians with harmonics of degree 2, as their SPZ says them."""
    record = spz.read(neural_data / "splats" / "playbot_lod3_spzv3.spz")
    cameras = pages.ring(about=tuple(np.median(record.means, axis=0)))
    page, console = browse(f"{pages.written(tmp_path, record, cameras, background=(1.0, 1.0, 1.0))}#bare")
    page.evaluate("neural.complete")
    assert page.evaluate("neural.count") == len(record)
    assert pages.psnr(pages.shown(page), pages.rendered(record, cameras, 0, 1.0)) > LEAST + 10
    assert console == []
