"""The picture of an order: what it compares with, its depths, its size, and when it is given up."""

from typing import Any

import numpy as np
import pytest

from neural.viewer.live.client import Wish
from neural.viewer.live.pictures import painter as painters
from neural.viewer.live.pictures.painter import FAR_AWAY, Painter
from neural.viewer.live.subjects.subject import Layers
from tests import ball
from tests.viewer.shown import EYE, ball_subject, order


def test_the_error_is_dark_where_the_photograph_is_met() -> None:
    subject = ball_subject()
    assert subject.scene is not None
    assert subject.modes[-2:] == ("photograph", "error")
    eye = subject.frame.points(subject.scene.cameras.origins[0].numpy())
    compared = Painter().paint(subject, order(Wish("error"), eye=eye))
    alone = Painter().paint(subject, order(Wish("error")))
    assert compared is not None
    assert alone is not None
    assert compared.psnr is not None
    assert compared.psnr > 10
    assert alone.psnr is None
    right = Painter().paint(subject, order(Wish("photograph"), eye=eye))
    drawn = Painter().paint(subject, order(Wish(), eye=eye))
    assert right is not None and drawn is not None
    middle = slice(30, 60), slice(45, 75)
    assert np.abs(right.rgb.astype(float) - drawn.rgb)[middle].mean() < 25
    assert compared.rgb[middle].mean() < 110 < alone.rgb.mean() * 4


def test_depths_are_those_along_the_axis_in_units_of_the_browser() -> None:
    subject = ball_subject()
    picture = Painter().paint(subject, order(Wish(), size=(160, 90)))
    assert picture is not None
    assert picture.depth is not None
    assert picture.depth.shape == (90, 160)
    distance = np.linalg.norm(EYE)
    assert picture.depth[45, 80] == pytest.approx(distance - ball.RADIUS / subject.frame.unit, abs=0.15)
    assert picture.depth[0, 0] == FAR_AWAY
    blind = Painter().paint(subject, order(Wish(occlusion=False)))
    assert blind is not None
    assert blind.depth is None


def test_what_is_more_clear_than_opaque_hides_nothing() -> None:
    subject = ball_subject()
    subject._gaussians.opacity_logits.data.fill_(-4.0)
    picture = Painter().paint(subject, order(Wish(), size=(160, 90)))
    assert picture is not None and picture.depth is not None
    assert picture.rgb[45, 80].min() < 250, "it is seen"
    assert picture.depth.min() == FAR_AWAY


def test_a_picture_is_given_up_between_bands_when_the_camera_moves_on(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = ball_subject()
    wanted = order(Wish())
    painter = Painter()
    painter.resolution.measured(120 * 90, 10 * painters.BAND)
    layers, asked = subject.layers, []

    def watched(*arguments: Any, bands: int, stale: Any, **options: Any) -> Layers | None:
        def noted() -> bool:
            asked.append(1)
            if len(asked) == 3:
                wanted.client.version += 1
            return stale()

        return layers(*arguments, bands=bands, stale=noted, **options)

    monkeypatch.setattr(subject, "layers", watched)
    assert painter.paint(subject, wanted) is None
    assert len(asked) == 3


def test_a_slow_picture_of_few_rows_has_no_empty_bands() -> None:
    painter = Painter()
    painter.resolution.measured(120 * 90, 100 * painters.BAND)
    picture = painter.paint(ball_subject(), order(Wish(), size=(240, 3)))
    assert picture is not None and picture.rgb.shape == (3, 240, 3)


def test_moving_pictures_are_small_and_sharp_ones_have_all_pixels() -> None:
    painter = Painter()
    for _ in range(10):
        painter.resolution.measured(160 * 90, 0.1)
    assert painter.size(order(Wish(), size=(1280, 720))) == (1280, 720)
    assert painter.size(order(Wish(scale=0.5), size=(1280, 720))) == (640, 360)
    wide, high = painter.size(order(Wish(), "moving", size=(1280, 720)))
    assert wide * high < 320 * 180
    assert painter.size(order(Wish(), size=(1280, 720)), most_seconds=0.05)[0] < 300
    assert painter.size(order(Wish(), size=(8000, 6000)))[0] <= 1920
    assert painter.size(order(Wish(scale=0.5), size=(1280, 720)), most_seconds=9.0) == (640, 360), "and no more"
