"""Watching a training: the result has the same bits; it can be paused, stepped and saved; it ends when told to."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
import torch

pytest.importorskip("viser", reason="needs viser, which make installs")

from websockets.exceptions import ConnectionClosed

from neural import checkpoint, runs
from neural.errors import NotSaved
from neural.fields.radiance import RadianceField
from neural.scenes.files import mesh as meshes
from neural.scenes.files.gaussians import formats
from neural.train.config import BaseRunConfig
from neural.train.loop import Moment
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
from neural.viewer.live.panels.tabs import Tabs
from neural.viewer.live.panels.training import TrainingPanel
from neural.viewer.live.server import open_door
from neural.viewer.live.viewer import Viewer
from neural.viewer.live.watch import Controls, TrainingViewer, Watching, watching
from tests import ball
from tests.shapes import icosphere
from tests.viewer.fields import cloud, stripes
from tests.viewer.raw_client import RawClient
from tests.viewer.shown import ball_subject

ROOT = Path(__file__).resolve().parents[2]
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


class Door:
    """A server that has worked for so many seconds."""

    worked = 0.0

    def seconds(self) -> float:
        return self.worked


def held(budget: Budget, controls: Controls, door: Door) -> TrainingViewer:
    """A viewer of a training without a server and pictures."""
    viewer = object.__new__(TrainingViewer)
    viewer.budget, viewer.controls, viewer._served = budget, controls, 0.0
    viewer.panel = MagicMock()
    viewer.viewer = SimpleNamespace(door=door, clients=[], serve_once=lambda: None)  # type: ignore[assignment]
    viewer._refresh = lambda moment, **_: None  # type: ignore[method-assign]
    return viewer


def moment(save: Callable[[], None] = lambda: None, stopping: Callable[[], bool] = lambda: False) -> Moment:
    return Moment(7, 100, 1.0, None, save, stopping)


def test_what_is_served_while_paused_is_no_debt_of_the_training() -> None:
    """Browsers that look around during a pause are served as fast as can be; pictures go on at once after it."""
    controls, budget, door = Controls(), Budget(), Door()
    viewer = held(budget, controls, door)

    def serve_once() -> None:
        door.worked += 60.0
        controls.pause(False)

    viewer.viewer.serve_once = serve_once  # type: ignore[method-assign]
    controls.pause(True)
    viewer.look(moment())
    viewer.look(moment())
    assert budget.left > 0.3
    door.worked += 60.0  # beside the training it counts
    viewer.look(moment())
    assert budget.left < -10


def test_a_disk_that_refuses_a_checkpoint_asked_for_in_a_browser_does_not_end_the_training() -> None:
    def refused() -> None:
        raise NotSaved("the disk is full")

    controls, said = Controls(), []
    viewer = held(Budget(), controls, Door())
    viewer.panel.not_saved = said.append  # type: ignore[method-assign]
    controls.ask_save()
    viewer.look(moment(refused))
    controls.pause(True)
    controls.ask_save()
    viewer.viewer.serve_once = lambda: controls.pause(False)  # type: ignore[method-assign]
    viewer.look(moment(refused))
    assert [str(error) for error in said] == ["the disk is full"] * 2
    saved: list[int] = []
    controls.ask_save()
    viewer.look(moment(lambda: saved.append(1)))
    assert saved == [1]


def test_a_pause_ends_when_a_signal_comes() -> None:
    controls = Controls()
    viewer = held(Budget(), controls, Door())
    controls.pause(True)
    turns: list[int] = []
    viewer.viewer.serve_once = lambda: turns.append(1)  # type: ignore[method-assign]
    viewer.look(moment(stopping=lambda: len(turns) == 3))
    assert len(turns) == 3


def test_the_button_says_what_it_will_do_whoever_has_pressed_it(tmp_path: Path) -> None:
    """Two browsers, and a pause that is taken back before the training has come to it."""
    viewer = Viewer(ball_subject(200), open_door(port=0))
    try:
        controls = Controls()
        panel = TrainingPanel(viewer, Tabs(viewer, tmp_path, []), controls, Budget())
        panel.note(moment())
        panel._toggle()
        assert (controls.paused, panel._pause.label) == (True, "resume")
        panel._toggle()
        panel.paused(moment())  # the training had seen the first click only
        assert (controls.paused, panel._pause.label) == (False, "pause")
        panel._ask("step")
        assert (controls.paused, panel._pause.label) == (True, "resume")
        controls.pause(False)  # from elsewhere
        panel._told = -1e9
        panel.note(moment())
        assert panel._pause.label == "pause"
        panel.not_saved(NotSaved("no room"))
        panel.note(moment())
        assert "not saved: no room" in panel._text.content
        panel.saved(7)
        panel.note(moment())
        assert "saved at step 7" in panel._text.content
    finally:
        viewer.close()


def test_steps_are_taken_once_each() -> None:
    controls = Controls()
    assert controls.goes_on()
    controls.ask_step()
    controls.ask_step()
    assert controls.paused
    assert [controls.goes_on() for _ in range(3)] == [True, True, False]
    controls.ask_step()
    controls.pause(True)
    assert not controls.goes_on(), "a pause forgets steps that were asked for"
    controls.pause(False)
    assert controls.goes_on()
    assert not controls.take_save()
    controls.ask_save()
    controls.ask_save()
    assert [controls.take_save(), controls.take_save()] == [True, False]


@contextmanager
def command(*arguments: str) -> Iterator[tuple[subprocess.Popen, int]]:
    """`neural ...` as a process, and the port of its viewer."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "neural", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=environment, cwd=ROOT,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        text = ""
        for line in process.stdout:
            text += line
            if found := re.search(r"viewer: http://127\.0\.0\.1:(\d+)/", line):
                yield process, int(found[1])
                return
        raise AssertionError(text)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_ctrl_c_ends_a_viewer_cleanly(tmp_path: Path) -> None:
    path = tmp_path / "ball.ply"
    formats.write(path, ball_subject()._gaussians.to_record())
    with command("view", str(path), "--port", "0") as (process, port):
        with RawClient(port) as client:
            client.look((0.0, -3.0, 0.0))
            assert client.pictures(1)[0].std() > 5
            process.send_signal(signal.SIGINT)
            said, _ = process.communicate(timeout=20)
        assert process.returncode == 0
        assert "Traceback" not in said


@pytest.mark.slow
def test_ctrl_c_saves_a_watched_training(tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = ("data/city", "--out", str(out), "--steps", "100000", "--downscale", "8", "--device", "cpu")
    with command("train", "splats", *arguments, "--view", "--view-port", "0") as (process, port):
        with RawClient(port) as client:
            client.look((0.0, -3.0, 0.0))
            client.pictures(1)
            process.send_signal(signal.SIGINT)
            said, _ = process.communicate(timeout=30)
        assert process.returncode == 130
        assert "Traceback" not in said
    assert checkpoint.latest_step(out)
    assert runs.read_config(out)["task"] == "splats"


@pytest.mark.slow
def test_a_surface_is_watched_and_viewed_from_the_command_line(tmp_path: Path) -> None:
    pytest.importorskip("open3d", reason="distances to a mesh need Open3D: pip install 'neural[mesh]'")
    body, out = icosphere(3), tmp_path / "run"
    mesh = meshes.write(tmp_path / "ball.ply", body.vertices, body.faces)
    small = ("--model.log2-hashmap-size", "12", "--sampling.shard-size", "2048", "--sampling.shards", "3")
    arguments = ("train", "sdf", str(mesh), "--out", str(out), "--steps", "100000", "--device", "cpu", *small)
    with command(*arguments, "--view", "--view-port", "0", "--view.size", "64") as (process, port):
        with RawClient(port) as client:
            client.look((0.0, 0.0, -3.0), wxyz=(1.0, 0.0, 0.0, 0.0))
            assert client.pictures(1)[0].std() > 5
            process.send_signal(signal.SIGINT)
            said, _ = process.communicate(timeout=30)
        assert process.returncode == 130
        assert "Traceback" not in said
    assert runs.read_config(out)["view"]["size"] == 64
    with command("view", str(out), "--port", "0") as (process, port), RawClient(port) as client:
        client.look((0.0, 0.0, -3.0), wxyz=(1.0, 0.0, 0.0, 0.0))
        assert client.pictures(1)[0].std() > 5
