"""The panel of a training, the same in all browsers: where it is, its curves, and pause, step and save."""

import time
from typing import TYPE_CHECKING, Any

from neural.errors import NotSaved
from neural.train.loop import Moment
from neural.viewer.live.budget import Budget
from neural.viewer.live.panels.tabs import Tabs
from neural.viewer.live.viewer import Viewer

if TYPE_CHECKING:
    from neural.viewer.live.watch import Controls

EVERY = 1.0  # seconds between two texts
CURVES_EVERY = 3.0  # seconds between two sights of the curves


class TrainingPanel:
    """Widgets that all browsers share.

    Args:
        viewer: Of the training.
        tabs: Panel that they are added to.
        controls: Of the training.
        budget: Of the pictures.
    """

    def __init__(self, viewer: Viewer, tabs: Tabs, controls: "Controls", budget: Budget) -> None:
        self._viewer, self._plots, self._controls, self._budget = viewer, tabs.plots, controls, budget
        gui = viewer.door.viser.gui
        with tabs.training:
            self._text = gui.add_markdown("Training begins.", order=-4)
            self._bar = gui.add_progress_bar(0.0, order=-3)
            self._pause = gui.add_button("pause", order=-2)
            self._pause.on_click(lambda _: self._toggle())
            more = gui.add_button_group("then", ("step", "save"), order=-1, hint="One step; a checkpoint")
            more.on_click(lambda event: self._ask(str(event.target.value)))
        self._told = self._drawn = -1e9
        self._first: tuple[int, float] | None = None
        self._line: dict[str, Any] = {}
        self._new: list[dict[str, Any]] = []
        self._saved: str | None = None

    def note(self, moment: Moment) -> None:
        """A step was made."""
        if self._first is None:
            self._first = moment.step, moment.seconds
        if moment.line is not None:
            self._line = {"step": moment.step, **moment.line}
            self._new.append(self._line)
        now = time.perf_counter()
        if now - self._told >= EVERY:
            self._told = now
            self._write(moment)
        if self._new and self._plots is not None and now - self._drawn >= CURVES_EVERY:
            self._drawn = now
            self._plots.add(self._new)
            self._new = []

    def paused(self, moment: Moment) -> None:
        """It has stopped after this step."""
        self._write(moment)

    def saved(self, step: int) -> None:
        """A checkpoint was written."""
        self._saved = f"saved at step {step:,}"
        self._told = -1e9

    def not_saved(self, error: NotSaved) -> None:
        """A checkpoint could not be written."""
        self._saved = f"not saved: {error}"
        self._told = -1e9

    def finished(self) -> None:
        """There are no more steps."""
        self._bar.value = 100.0
        self._pause.disabled = True
        self._text.content = "**Finished.** The viewer stays open until Ctrl-C."
        if self._new and self._plots is not None:
            self._plots.add(self._new)

    def _toggle(self) -> None:
        self._controls.pause(not self._controls.paused)
        self._label()
        self._viewer.wake()

    def _ask(self, what: str) -> None:
        if what == "step":
            self._controls.ask_step()
            self._label()
        else:
            self._controls.ask_save()
        self._viewer.wake()

    def _label(self) -> None:
        """What the button will do, whoever has pressed it last."""
        self._pause.label = "resume" if self._controls.paused else "pause"

    def _write(self, moment: Moment) -> None:
        assert self._first is not None
        self._label()
        total = f" of {moment.steps:,}" if moment.steps is not None else ""
        lines = [f"**step {moment.step:,}{total}**" + (", paused" if self._controls.paused else "")]
        done = moment.step - self._first[0]
        if moment.steps is not None:
            self._bar.value = 100.0 * moment.step / moment.steps
            if done > 0:
                left = (moment.steps - moment.step) * (moment.seconds - self._first[1]) / done
                lines[0] += f", {duration(left)} left"
        if "loss" in self._line:
            scores = [f"loss {self._line['loss']:.3g}"]
            scores += [f"PSNR {self._line['psnr']:.2f} dB"] if "psnr" in self._line else []
            lines.append(", ".join(scores))
        lines.append(self._viewer.subject.facts())
        share = self._budget.spent / max(self._budget.spent + self._budget.trained, 1e-9)
        rate = f"{self._viewer.rate.per_second():.1f} pictures/s"
        if self._viewer.last is not None:
            rate += f" of {self._viewer.last[0]} x {self._viewer.last[1]}"
        lines.append(f"{rate}, {100 * share:.1f} % of the time")
        if self._saved is not None:
            lines.append(self._saved)
        self._text.content = "  \n".join(lines)


def duration(seconds: float) -> str:
    """In words: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
