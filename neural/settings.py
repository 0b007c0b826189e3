"""Configuration dataclasses to and from plain values: TOML files, `config.json`, checkpoints.

A configuration is a frozen dataclass whose fields are literals or further such dataclasses. Nothing here
knows torch.
"""

import dataclasses
import difflib
import tomllib
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

Config = TypeVar("Config")


def from_plain(kind: type[Config], values: Mapping[str, Any], *, source: str = "config") -> Config:
    """Build a configuration from nested plain values; what is absent keeps its default.

    Args:
        kind: The dataclass.
        values: As TOML or JSON give them; lists stand for tuples.
        source: Named in errors: a file, usually.

    Raises:
        ValueError: For an unknown key, with the nearest name, or a value of the wrong type.
    """
    return _build(kind, values, source, "")


def to_plain(config: Any) -> dict[str, Any]:
    """Nested plain values, tuples as lists: what JSON will give back."""
    return {field.name: _plain_value(getattr(config, field.name)) for field in dataclasses.fields(config) if field.init}


def read_toml(kind: type[Config], path: str | Path) -> Config:
    """A configuration from a TOML file with a table per group.

    Raises:
        ValueError: If the file is missing, is not TOML, or holds an unknown key or a wrong value.
    """
    try:
        with open(path, "rb") as file:
            values = tomllib.load(file)
    except OSError as error:
        raise ValueError(f"--config {path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"--config {path}: not valid TOML: {error}") from error
    return from_plain(kind, values, source=str(path))


def unresolved(config: Any) -> list[str]:
    """Dotted names of the fields that still say None or "auto"."""
    return [name for name, value in _leaves(config, "") if value is None or value == "auto"]


def nearest(name: str, names: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or the list of what exists where nothing is near."""
    names = list(names)
    close = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are: {', '.join(names)}"


def _build(kind: Any, values: Mapping[str, Any], source: str, prefix: str) -> Any:
    hints = typing.get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind) if field.init]
    arguments = {}
    for key, value in values.items():
        if key not in names:
            raise ValueError(f"{source}: unknown key {prefix + key!r}{nearest(key, names)}")
        hint = hints[key]
        if dataclasses.is_dataclass(hint):
            if not isinstance(value, Mapping):
                raise ValueError(f"{source}: {prefix + key} is a group of keys, got {value!r}")
            arguments[key] = _build(hint, value, source, f"{prefix}{key}.")
        else:
            arguments[key] = _checked(value, hint, f"{source}: {prefix + key}")
    return kind(**arguments)


def _checked(value: Any, hint: Any, where: str) -> Any:
    """The value in the field's type: an int serves a float, a list a tuple."""
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        for option in options:
            try:
                return _checked(value, option, where)
            except ValueError:
                continue
    elif origin is Literal:
        if value in options and type(value) in {type(option) for option in options}:
            return value
    elif origin is tuple:
        every = options[:1] * len(value) if options[1:] == (...,) and isinstance(value, list | tuple) else options
        if isinstance(value, list | tuple) and len(value) == len(every):
            return tuple(_checked(v, o, f"{where}[{i}]") for i, (v, o) in enumerate(zip(value, every, strict=True)))
    elif hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif (hint is type(None) and value is None) or (isinstance(hint, type) and type(value) is hint):
        return value
    elif hint is Path and isinstance(value, str):
        return Path(value)
    raise ValueError(f"{where} must be {_name(hint)}, got {value!r}")


def _name(hint: Any) -> str:
    origin, options = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_name(option) for option in options)
    if origin is Literal:
        return " or ".join(repr(option) for option in options)
    if origin is tuple:
        return f"a list of {_name(options[0])}"
    return {
        "int": "an integer",
        "float": "a number",
        "bool": "true or false",
        "str": "a string",
        "NoneType": "none",
    }.get(getattr(hint, "__name__", ""), str(hint))


def _leaves(config: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from _leaves(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, value


def _plain_value(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_plain(value)
    if isinstance(value, tuple):
        return [_plain_value(item) for item in value]
    return str(value) if isinstance(value, Path) else value
