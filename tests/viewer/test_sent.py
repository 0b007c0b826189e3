"""What pictures are sent as: JPEGs, and of a picture run at rest the very pixels."""

import math
import time
from pathlib import Path

import pytest

pytest.importorskip("viser", reason="needs viser, which make installs")

from neural.viewer.live.subjects.choose import subject_of_run
from tests.viewer import fields
from tests.viewer.raw_client import RawClient
from tests.viewer.shown import ball_subject, served

PNG, JPEG = b"\x89PNG", b"\xff\xd8"


def begins(client: RawClient, seconds: float) -> list[bytes]:
    """How the pictures of so many seconds begin."""
    return [message["rgb_data"][:4] for message in client.messages(seconds) if message.get("rgb_data")]


@pytest.mark.parametrize("flat", [False, True])
def test_a_picture_run_is_sent_without_loss_where_the_camera_rests(tmp_path: Path, flat: bool) -> None:
    subject = subject_of_run(fields.picture_run()) if flat else ball_subject(300)
    with served(tmp_path, subject) as viewer, RawClient(viewer.door.port) as client:
        moving: list[bytes] = []
        end = time.perf_counter() + 20
        while not any(start.startswith(JPEG) for start in moving) and time.perf_counter() < end:
            client.look((0.1 * math.sin(20 * time.perf_counter()), -3.0, 0.0))
            moving += begins(client, 0.02)
        assert moving
        assert moving[-1].startswith(JPEG)
        still = [JPEG]
        while (more := begins(client, 1.0)) or (flat and not still[-1].startswith(PNG) and time.perf_counter() < end):
            still += more
        assert still[-1].startswith(PNG if flat else JPEG)
