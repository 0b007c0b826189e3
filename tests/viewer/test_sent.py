"""What pictures are sent as: JPEGs, and of a picture run at rest the very pixels."""

import time
from pathlib import Path

import pytest

pytest.importorskip("viser", reason="needs viser, which make installs")

from neural.viewer.live.subjects.choose import subject_of_run
from tests.viewer import fields
from tests.viewer.raw_client import RawClient
from tests.viewer.shown import ball_subject, served

PNG, JPEG = b"\x89PNG", b"\xff\xd8"


def begins(client: RawClient, n: int) -> list[bytes]:
    """How the next n pictures begin."""
    found: list[bytes] = []
    end = time.perf_counter() + 20
    while len(found) < n and time.perf_counter() < end:
        found += [message["rgb_data"][:4] for message in client.messages(0.05) if message.get("rgb_data")]
    return found


@pytest.mark.parametrize("flat", [False, True])
def test_a_picture_run_is_sent_without_loss_where_the_camera_rests(tmp_path: Path, flat: bool) -> None:
    subject = subject_of_run(fields.picture_run()) if flat else ball_subject(300)
    with served(tmp_path, subject) as viewer, RawClient(viewer.door.port) as client:
        client.look((0.0, -3.0, 0.0))
        assert begins(client, 1)[0].startswith(PNG if flat else JPEG)
        client.look((0.1, -3.0, 0.0))
        moving, still = begins(client, 2)
        assert moving.startswith(JPEG) and still.startswith(PNG if flat else JPEG)
