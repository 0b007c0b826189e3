"""OpenEXR files as FFmpeg reads them: the same float32, of any size and value."""

from pathlib import Path

import numpy as np
import pytest

from neural import exr


@pytest.mark.parametrize("size", [(1, 1), (16, 5), (17, 64), (50, 33)])
@pytest.mark.parametrize("kind", ["noise", "smooth", "zero"])
def test_another_program_reads_the_same_values(tmp_path: Path, size: tuple[int, int], kind: str) -> None:
    av = pytest.importorskip("av", reason="read by FFmpeg: pip install 'neural[video]'")
    rows, columns = np.mgrid[: size[0], : size[1]]
    values = {
        "noise": np.random.default_rng(0).normal(size=size) * 1e5,
        "smooth": 3 + 0.01 * rows + 1e-4 * columns,
        "zero": 0.0 * rows,
    }[kind].astype(np.float32)
    with (tmp_path / "a.exr").open("wb") as file:
        exr.write(file, values)
    with av.open(str(tmp_path / "a.exr")) as container:
        (frame,) = container.decode(video=0)
    assert frame.format.name == "grayf32le"
    plane = np.frombuffer(frame.planes[0], np.float32).reshape(size[0], -1)[:, : size[1]]
    np.testing.assert_array_equal(plane, values)
    if kind == "zero" and values.size > 1000:
        assert (tmp_path / "a.exr").stat().st_size < values.nbytes / 4
