"""What the commands `neural train TASK` share: flags over a file of values over the defaults."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import tyro

from neural import settings
from neural.cli import UsageError

Command = TypeVar("Command")
Config = TypeVar("Config")
T = TypeVar("T")


@dataclass(frozen=True)
class ViewOptions:
    """Watching a training in a browser."""

    view: tyro.conf.FlagCreatePairsOff[bool] = False
    """Watch it in a browser (extra [viewer]): the address is printed; stays open at the end, until Ctrl-C."""
    view_host: str = "127.0.0.1"
    """Address that the viewer listens on; one that others reach needs a token, made if none is given."""
    view_port: int = 8080
    """First port to try; the next free one is taken."""
    view_token: str | None = None
    """What browsers must know: 12 or more letters, digits, - and _."""


@contextlib.contextmanager
def viewed(options: ViewOptions) -> Iterator[Any]:
    """What a training takes as `watch`: None unless it is to be watched; the viewer stays open afterwards."""
    if not options.view:
        yield None
        return

    from neural.interrupt import Interrupted
    from neural.viewer.live.server import check_door
    from neural.viewer.live.watch import watching

    check_door(host=options.view_host, port=options.view_port, token=options.view_token)
    with watching(host=options.view_host, port=options.view_port, token=options.view_token) as watch:
        yield watch
        if watch.viewer is not None:
            print(f"viewer: {watch.viewer.viewer.door.address} stays open until Ctrl-C", flush=True)
            with contextlib.suppress(Interrupted):  # the training is done and saved
                watch.viewer.stay()


def parse(command: type[Command], config: type, task: str, arguments: Sequence[str]) -> Command:
    """The command's arguments, over the values of `--config`, over the defaults.

    Args:
        command: Dataclass with `scene`, `out`, `overwrite`, `config`, and a field for each of the configuration's.
        config: The configuration's dataclass.
        task: As typed.
        arguments: What follows it.
    """
    path = _value_of("--config", arguments)
    base: Any = usage(lambda: settings.read_toml(config, path)) if path is not None else config()
    parts = {part.name: getattr(base, part.name) for part in dataclasses.fields(config)}
    default = command(scene=tyro.MISSING, **parts)  # type: ignore[call-arg]
    return tyro.cli(command, prog=f"neural train {task}", args=list(arguments), default=default)


def configured(given: Any, config: type[Config]) -> Config:
    """The configuration in a command's arguments.

    Raises:
        UsageError: A value that no training can use.
    """
    parts = {part.name: getattr(given, part.name) for part in dataclasses.fields(config)}  # type: ignore[arg-type]
    return usage(lambda: config(**parts))


def usage(build: Callable[[], T]) -> T:
    """What `build` gives; a ValueError becomes a usage error."""
    try:
        return build()
    except ValueError as error:
        raise UsageError(str(error)) from error


def _value_of(flag: str, arguments: Sequence[str]) -> str | None:
    """What follows a flag; it must be known before the parser that will see it is made."""
    for position, argument in enumerate(arguments):
        if argument.startswith(f"{flag}="):
            return argument.partition("=")[2]
        if argument == flag and position + 1 < len(arguments):
            return arguments[position + 1]
    return None
