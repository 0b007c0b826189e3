"""Watching a training: pictures between its steps, within a budget; pause, step and save.

`neural.train.splats(scene, watch=watch)` where `with watching() as watch:` opened a viewer. Everything is drawn in the
thread that trains, between two steps, so that a step never sees a viewer and a viewer never sees half a step. With the
training paused, that thread serves pictures as fast as it can.
"""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from neural import log
from neural.errors import NotSaved
from neural.train.loop import Moment, Watcher
from neural.train.trained import TrainedRun
from neural.viewer.live.budget import Budget
from neural.viewer.live.open import PATHS
from neural.viewer.live.panels.tabs import Tabs
from neural.viewer.live.panels.training import TrainingPanel
from neural.viewer.live.server import PORT, open_door
from neural.viewer.live.subjects.choose import subject_of_run
from neural.viewer.live.viewer import Viewer

WORTH = {"moving": 0.05, "still": 0.25}  # seconds that are saved up for a picture, so that it is not too small
SPARE = 0.1  # the same for a small picture of a photograph


class Controls:
    """What was asked of the training in a browser; set by the server's threads, read by the one that trains."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.paused = False
        self._steps = 0
        self._saves = 0

    def pause(self, paused: bool) -> None:
        """Stops after this step, or goes on."""
        with self._lock:
            self.paused, self._steps = paused, 0

    def ask_step(self) -> None:
        """One more step, then a pause."""
        with self._lock:
            self.paused = True
            self._steps += 1

    def ask_save(self) -> None:
        """A checkpoint, soon."""
        with self._lock:
            self._saves += 1

    def goes_on(self) -> bool:
        """Whether the training may make a step; a paused one once for each that was asked for."""
        with self._lock:
            if not self.paused:
                return True
            asked = self._steps > 0
            self._steps -= asked
            return asked

    def take_save(self) -> bool:
        """Whether to save; once for all that asked."""
        with self._lock:
            asked, self._saves = self._saves > 0, 0
            return asked


class TrainingViewer(Watcher):
    """Shows a training as it goes; see `neural.train.loop.Watcher`.

    What counts against the budget is the time here, or the CPU time per core if that is more, and what the server's
    thread takes beside the training.

    Args:
        snapshot: Gives what is trained as it is now.
        budget: Of pictures beside the training.
        options: Of `open_door`.
    """

    def __init__(self, snapshot: Callable[[], TrainedRun], budget: Budget, **options: Any) -> None:
        self._snapshot, self.budget = snapshot, budget
        run = snapshot()
        subject = subject_of_run(run, quick=True)
        self._served = 0.0
        door = open_door(label=f"neural: {subject.name}", **options)
        self.viewer = Viewer(subject, door)
        self.controls = Controls()
        tabs = Tabs(self.viewer, run.folder / PATHS, log.read(run.folder))
        self.panel = TrainingPanel(self.viewer, tabs, self.controls, budget)
        print(door.directions(), flush=True)
        budget.resume()

    def look(self, moment: Moment) -> None:
        """Between two steps."""
        self.budget.earn()
        saved = self._save(moment)  # which is not for looking
        began, worked = time.perf_counter(), time.process_time()
        self.panel.note(moment)
        if not saved:
            self._glance(moment.step)
        cores, served = max(1, torch.get_num_threads()), self.viewer.door.seconds()
        here = max(time.perf_counter() - began, (time.process_time() - worked) / cores)
        self.budget.spend(here + max(0.0, served - self._served) / cores)
        self._served = served
        if self.controls.paused:
            self._hold(moment)
            self._served = self.viewer.door.seconds()  # what was served meanwhile took nothing from the training
        self.budget.resume()

    def stay(self, stop: Callable[[], bool] = lambda: False) -> None:
        """Goes on showing what was trained, until `stop` says so."""
        self._refresh(self.viewer.moment + 1, quick=False)
        self.panel.finished()
        self.viewer.serve(stop)

    def close(self) -> None:
        """Ends the server."""
        self.viewer.close()

    def _save(self, moment: Moment) -> bool:
        """Writes a checkpoint if one was asked for; a disk that refuses is no reason to end the training."""
        if not self.controls.take_save():
            return False
        try:
            moment.save()
        except NotSaved as error:
            self.panel.not_saved(error)
        else:
            self.panel.saved(moment.step)
        return True

    def _glance(self, step: int) -> None:
        """One picture, if somebody waits for it and the budget has enough."""
        left = self.budget.left
        if left < min(*WORTH.values(), SPARE) or not self.viewer.clients:
            return
        self.viewer.moment = step
        order = self.viewer.next_order()
        if order is None:
            if left >= SPARE:
                self.viewer.work()
        elif left >= WORTH[order.level]:
            self._refresh(step)
            self.viewer.make(order, left)

    def _refresh(self, moment: int, *, quick: bool = True) -> None:
        self.viewer.subject = subject_of_run(self._snapshot(), self.viewer.subject, quick=quick)
        self.viewer.moment = moment

    def _hold(self, moment: Moment) -> None:
        """Serves browsers until the training is to go on."""
        self._refresh(moment.step)
        self.panel.paused(moment)
        while not moment.stopping():
            if self._save(moment):
                self.panel.paused(moment)
            if self.controls.goes_on():
                return
            self.viewer.serve_once()


class Watching:
    """What `watching` gives: called with a training's snapshots, it opens the viewer.

    Attributes:
        viewer: Of the training; None before it began.
    """

    def __init__(self, budget: Budget | None, options: dict[str, Any]) -> None:
        self._budget, self._options = budget, options
        self.viewer: TrainingViewer | None = None

    def __call__(self, snapshot: Callable[[], TrainedRun]) -> TrainingViewer:
        self.viewer = TrainingViewer(snapshot, self._budget or Budget(), **self._options)
        return self.viewer


@contextlib.contextmanager
def watching(
    *, host: str = "127.0.0.1", port: int = PORT, token: str | None = None, budget: Budget | None = None
) -> Iterator[Watching]:
    """A viewer for the `watch=` of a training; closed at the end of the block.

    Args:
        host, port, token: See `neural.viewer.live.server.open_door`.
        budget: Of pictures beside the training.
    """
    watch = Watching(budget, {"host": host, "port": port, "token": token})
    try:
        yield watch
    finally:
        if watch.viewer is not None:
            watch.viewer.close()
