"""What the commands `neural train TASK` share: flags over a file of values over the defaults."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import tyro

from neural import settings
from neural.cli import UsageError

Command = TypeVar("Command")
Config = TypeVar("Config")
T = TypeVar("T")


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
