"""The panel beside the pictures: tabs that all browsers share, filled with widgets of each one's own."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from neural.viewer.live.client import Client, Order
from neural.viewer.live.panels.path import PathPanel
from neural.viewer.live.panels.plots import Plots
from neural.viewer.live.panels.view import ViewPanel, add_scene_widgets
from neural.viewer.live.pictures.painter import Picture
from neural.viewer.live.viewer import Viewer


class Tabs:
    """Builds the panel of every browser that comes.

    Args:
        viewer: That makes the pictures.
        folder: Where camera paths and films are put.
        lines: Of metrics.jsonl, to plot; None where there are none.

    Attributes:
        plots: The curves; None where there are none.
        training: The tab that they are in.
    """

    def __init__(self, viewer: Viewer, folder: Path, lines: Sequence[Mapping[str, Any]] | None) -> None:
        self._viewer, self._folder = viewer, folder
        self._views: dict[int, ViewPanel] = {}
        server = viewer.door.viser
        server.gui.configure_theme(show_logo=False, show_share_button=False, control_width="medium")
        self.group = server.gui.add_tab_group()
        self._view = self.group.add_tab("view")
        self._path = self.group.add_tab("camera path")
        self.plots: Plots | None = None
        if lines is not None:
            self.training = self.group.add_tab("training")
            with self.training:
                self.plots = Plots(server.gui, lines)
        with self._view:
            add_scene_widgets(server.gui, viewer)
        viewer.on_join.append(self._join)
        viewer.on_leave.append(self._leave)
        viewer.on_picture.append(self._tell)

    def _join(self, client: Client) -> None:
        with self._view:
            self._views[client.handle.client_id] = ViewPanel(self._viewer, client)
        with self._path:
            PathPanel(self._viewer, client, self._folder)

    def _leave(self, client: Client) -> None:
        self._views.pop(client.handle.client_id, None)

    def _tell(self, order: Order, picture: Picture) -> None:
        panel = self._views.get(order.client.handle.client_id)
        if panel is not None:
            panel.tell(order, picture)
