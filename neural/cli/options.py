"""Options that belong to some kinds of run: what was given goes to the call that takes it."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from neural.cli import UsageError

T = TypeVar("T")


def call(method: Callable[..., T], options: Mapping[str, Any], kind: str, **flags: str) -> T:
    """Calls a run's method with the options that were given (are not None).

    Args:
        method: `evaluate`, `render` or `export` of a run.
        options: Name of a parameter -> value.
        kind: What the run is, for the message.
        flags: Name of a parameter -> its flag, where that is another word.

    Raises:
        UsageError: One that the method does not take; names those that it does.
    """
    given = {name: value for name, value in options.items() if value is not None}
    taken = inspect.signature(method).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values()):
        return method(**given)
    flag = {name: "--" + flags.get(name, name).replace("_", "-") for name in options}
    for name in given:
        if name not in taken:
            own = ", ".join(flag[other] for other in options if other in taken) or "none"
            raise UsageError(f"{flag[name]} means nothing for a run of kind {kind!r}; its options here: {own}")
    return method(**given)
