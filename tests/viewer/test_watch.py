"""Whole trainings that are watched: the result has the same bits; they can be paused, stepped and saved."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("viser", reason="needs viser, which make installs")

from websockets.exceptions import ConnectionClosed

from neural import checkpoint
from neural.fields.radiance import RadianceField
from neural.train.config import BaseRunConfig
from neural.train.tasks.capture.config import RunConfig
from neural.train.tasks.field.config import FieldConfig
from neural.train.tasks.image.config import ImageConfig, ImageDataConfig
from neural.train.tasks.image.run import image
from neural.train.tasks.radiance.config import RadianceConfig, SamplingConfig
from neural.train.tasks.radiance.run import radiance
from neural.train.tasks.sdf.config import SdfConfig, SdfSamplingConfig, SdfViewConfig
from neural.train.tasks.sdf.run import SdfRun, sdf
from neural.train.tasks.splats.config import DensifyConfig, SplatModelConfig, SplatOptimConfig, SplatsConfig
from neural.train.tasks.splats.run import splats
from neural.train.tasks.volume.config import VolumeConfig, VolumeSamplingConfig, VolumeViewConfig
from neural.train.tasks.volume.run import VolumeRun, volume
from neural.viewer.live import watch as watches
from neural.viewer.live.budget import Budget
from neural.viewer.live.watch import TrainingViewer, Watching, watching
from tests import ball
from tests.shapes import icosphere
from tests.viewer.fields import cloud, stripes
from tests.viewer.raw_client import RawClient

STEPS = 40


def train(task: str, folder: Path, watch: Watching | None) -> dict[str, torch.Tensor]:
    """A short training with all that comes and goes; its last checkpoint."""
    options: dict[str, Any] = {"out": folder, "progress": False, "watch": watch}
    if task in ("sdf", "volume", "image"):
        _train_field(task, options)
        return checkpoint.load_latest(folder).tensors
    run = RunConfig(device="cpu", log_every=5, steps=STEPS)
    scene = ball.scene(size=(64, 48), points=400)
    if task == "splats":
        config = SplatsConfig(
            run=run, model=SplatModelConfig(max_gaussians=900, init_gaussians=400, sh_degree=2),
            densify=DensifyConfig(start=5, every=5), optim=SplatOptimConfig(coarse=2),
        )  # fmt: skip
        splats(scene, config=config, **options)
    else:
        from neural.encodings.hash_grid import HashGrid

        field = RadianceField(
            HashGrid(3, n_levels=4, log2_hashmap_size=10, base_resolution=8, finest_resolution=32), aabb=scene.aabb,
            density_width=16, color_width=16,
        )  # fmt: skip
        sampling = SamplingConfig(
            target_samples=4096, initial_rays=256, max_rays=1024, steps_per_box=64, occupancy_resolution=16,
            occupancy_interval=4, occupancy_warmup=12,
        )  # fmt: skip
        radiance(field, scene, config=RadianceConfig(run=run, sampling=sampling), **options)
    return checkpoint.load_latest(folder).tensors


def _train_field(task: str, options: dict[str, Any]) -> None:
    run = BaseRunConfig(device="cpu", log_every=5, steps=STEPS)
    model = FieldConfig(n_levels=4, log2_hashmap_size=10, base_resolution=4, finest_resolution=16, width=16)
    if task == "sdf":
        pytest.importorskip("open3d", reason="distances to a mesh need Open3D: pip install 'neural[mesh]'")
        sampling = SdfSamplingConfig(batch_size=512, shard_size=512, shard_steps=8, shards=3)
        view = SdfViewConfig(views=1, size=32, resolution=16)
        sdf(icosphere(2), config=SdfConfig(run=run, model=model, sampling=sampling, view=view), **options)
    elif task == "volume":
        config = VolumeConfig(
            run=run, model=model, sampling=VolumeSamplingConfig(points=1024, occupancy_resolution=16),
            view=VolumeViewConfig(views=1, size=24, steps_per_edge=32, shadow_resolution=8),
        )  # fmt: skip
        volume(cloud(), config=config, **options)
    else:
        image(stripes(), config=ImageConfig(run=run, model=model, data=ImageDataConfig(batch=512)), **options)


@contextmanager
def browsing(watch: Watching) -> Iterator[list[int]]:
    """A browser that connects once there is a viewer, and moves all the time; gives how many pictures it has had."""
    had = [0]
    stop = threading.Event()

    def browse() -> None:
        while watch.viewer is None and not stop.wait(0.01):
            pass
        if watch.viewer is None:
            return
        try:
            with RawClient(watch.viewer.viewer.door.port) as client:
                for moved in range(10_000):
                    if stop.is_set():
                        return
                    client.look((0.01 * moved % 1, -3.0, 0.0), (160, 90))
                    said = client.messages(0.02)
                    had[0] += sum(message.get("rgb_data") is not None for message in said)
        except (OSError, EOFError, ConnectionClosed):
            pass  # the viewer is closed at the end of the training

    thread = threading.Thread(target=browse)
    thread.start()
    try:
        yield had
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("task", ["splats", "radiance", "sdf", "volume", "image"])
def test_watching_changes_no_bit_of_the_result(task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are made after every step, in all sizes and ways, and the checkpoint is the one of a lonely training."""
    monkeypatch.setattr(watches, "WORTH", {"moving": 0.0, "still": 0.0})
    monkeypatch.setattr(watches, "SPARE", 0.0)
    for kind in (SdfRun, VolumeRun):  # no test here is about films
        monkeypatch.setattr(kind, "film_patience", 0.0)
        monkeypatch.setattr(kind, "film_frames", (2, 2))
    alone = train(task, tmp_path / "alone", None)
    with watching(port=0, budget=Budget(share=1e6)) as watch, browsing(watch) as had:
        seen = threading.Event()
        look = TrainingViewer.look

        def patient(self: TrainingViewer, moment: Any) -> None:  # the first steps wait for the browser
            end = time.perf_counter() + 10
            while moment.step <= 3 and not had[0] and time.perf_counter() < end:
                look(self, moment)
                time.sleep(0.01)
            look(self, moment)
            seen.set()

        monkeypatch.setattr(TrainingViewer, "look", patient)
        watched = train(task, tmp_path / "watched", watch)
        assert seen.is_set()
        assert watch.viewer is not None
        assert watch.viewer.budget.spent > 0
    assert had[0] >= 3, "there was somebody to watch"
    assert alone.keys() == watched.keys()
    for name, value in alone.items():
        assert torch.equal(value, watched[name]), name


def until(true: Callable[[], bool], seconds: float = 20.0) -> None:
    end = time.perf_counter() + seconds
    while not true():
        assert time.perf_counter() < end, "it did not come"
        time.sleep(0.01)


def test_pause_step_and_save(tmp_path: Path) -> None:
    """As buttons do, from a thread of the server's."""
    failed: list[BaseException] = []

    def press(watch: Watching) -> None:
        try:
            until(lambda: watch.viewer is not None)
            viewer = watch.viewer
            assert viewer is not None
            controls, steps = viewer.controls, []
            look = viewer.panel.note
            viewer.panel.note = lambda moment: (steps.append(moment.step), look(moment))[1]  # type: ignore[method-assign]
            controls.pause(True)
            time.sleep(0.5)
            stood = list(steps)
            time.sleep(0.3)
            assert steps == stood, "it stands still"
            assert len(stood) < STEPS
            for _ in range(3):
                controls.ask_step()
            until(lambda: len(steps) >= len(stood) + 3)
            time.sleep(0.3)
            assert len(steps) == len(stood) + 3
            controls.ask_save()
            until(lambda: checkpoint.latest_step(tmp_path) == steps[-1])
            with RawClient(viewer.viewer.door.port) as client:  # pictures as fast as can be
                client.look((0.0, -3.0, 0.0), (160, 90))
                for moved in range(5):
                    client.look((0.1 * moved, -3.0, 0.0), (160, 90))
                    client.pictures(1)
            controls.pause(False)
        except BaseException as error:
            failed.append(error)
            if watch.viewer is not None:
                watch.viewer.controls.pause(False)

    with watching(port=0) as watch:
        thread = threading.Thread(target=press, args=(watch,))
        thread.start()
        train("splats", tmp_path, watch)
        thread.join()
    assert failed == []
    assert watch.viewer is not None
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", watch.viewer.viewer.door.port), timeout=10)
    assert checkpoint.latest_step(tmp_path) == STEPS
