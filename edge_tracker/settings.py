"""Settings as data: frozen dataclasses whose fields state type, range and meaning, from Python, TOML, JSON or `--set`.

    @dataclass(frozen=True)
    class Camera:
        fps: Annotated[float, Between(0.1, 1000), "frames per second asked of the device"] = 30.0

        def __post_init__(self) -> None:
            check(self)

msgspec (one extension module, no dependencies; imported in half of pydantic's time) does the conversion. Everything
wrong is one ConfigError that names the setting, what it may be, and for an unknown name the nearest known one.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import os
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

import msgspec

from edge_tracker.errors import ConfigError, first_line

T = TypeVar("T")
_VARIABLE = re.compile(r"\$\{(\w+)\}")
SHOWN_NAMES = 8  # of the known ones, in the message for an unknown one
DEEPEST = 16  # levels of a nested file; a stranger's may have thousands


def Between(low: float, high: float, above: bool = False) -> msgspec.Meta:  # noqa: N802 - reads as a type
    """From low to high, both included; above: but for low itself."""
    return msgspec.Meta(gt=low, le=high) if above else msgspec.Meta(ge=low, le=high)


def AtLeast(low: float) -> msgspec.Meta:  # noqa: N802
    """Not less than low."""
    return msgspec.Meta(ge=low)


def Above(low: float) -> msgspec.Meta:  # noqa: N802
    """More than low."""
    return msgspec.Meta(gt=low)


def check(settings: Any) -> None:
    """Check the types and ranges of a dataclass's fields, for its `__post_init__`; 1 becomes 1.0 and a list a tuple
    where the field says so. Raises ConfigError."""
    for name, hint in hints(type(settings)).items():
        given = getattr(settings, name)
        object.__setattr__(settings, name, converted(given, hint, name))


def converted(value: Any, hint: Any, name: str) -> Any:
    """`value` as the type `hint`. Raises ConfigError that calls it `name`."""
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()  # a NumPy scalar
    try:
        found = msgspec.convert(value, hint)
    # Of text too. SystemError: msgspec before 0.22, for a whole number too large for a float.
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError, SystemError) as error:
        raise ConfigError(f"{name} is {describe(hint)}, not {shown(value)}") from error
    if _holds(found, lambda part: isinstance(part, str) and "\0" in part):
        raise ConfigError(f"{name} holds the character 0")  # the rest may be a secret
    if _holds(found, lambda part: isinstance(part, float) and not math.isfinite(part)):
        raise ConfigError(f"{name} is {describe(hint)}, and finite, not {shown(value)}")
    if _holds(found, lambda part: isinstance(part, int) and abs(part) >= 2**63):
        raise ConfigError(f"{name} is {describe(hint)} below 2^63, not {shown(value)}")
    return found


def from_mapping(cls: type[T], mapping: object, where: str) -> T:
    """Make the dataclass `cls` from nested mappings, as TOML and JSON give them.

    Raises ConfigError for anything that does not fit, naming `where` it stands.
    """
    return _from_mapping(cls, mapping, where, "", 0)


def from_json(cls: type[T], text: str | bytes, where: str) -> T:
    """The same from JSON text. Raises ConfigError."""
    return from_mapping(cls, decode(text, where), where)


def decode(text: str | bytes, where: str) -> Any:
    """What JSON text means, of a stranger's file too: nested too deep, no finite numbers. Raises ConfigError."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ConfigError(f"{where} holds no JSON: {first_line(error)}") from error


def _from_mapping(cls: type[T], mapping: object, where: str, path: str, depth: int) -> T:
    if not isinstance(mapping, Mapping) or depth > DEEPEST:
        raise ConfigError(f"{where}: {path.rstrip('.') or 'the whole'} is a table of settings, not {shown(mapping)}")
    fields = hints(cls)
    values = {}
    for key, value in mapping.items():
        if key not in fields:
            raise ConfigError(f"{where}: {unknown(path + str(key), [path + name for name in fields])}")
        try:
            values[key] = _value(value, fields[key], where, f"{path}{key}.", depth)
        except ConfigError as error:
            text = str(error)
            raise ConfigError(text if text.startswith(where) else f"{where}: {text}") from error
    try:
        return cls(**values)
    except TypeError as error:
        missing = [f.name for f in dataclasses.fields(cls) if _required(f) and f.name not in values]  # type: ignore[arg-type]
        raise ConfigError(f"{where}: {path}{' and '.join(missing) or first_line(error)} is missing") from error
    except ConfigError as error:
        starts_with_name = str(error).partition(" ")[0] in fields
        place = f"{path[:-1]}: " if path and not starts_with_name else path
        raise ConfigError(f"{where}: {place}{error}") from error


def _value(value: object, hint: Any, where: str, path: str, depth: int) -> Any:
    """A field's value: nested dataclasses, and tuples of them, are made from their own mappings."""
    for option in _options(hint):
        if dataclasses.is_dataclass(option) and isinstance(value, Mapping):
            return _from_mapping(typing.cast(type[Any], option), value, where, path, depth + 1)
        arguments = get_args(option)
        if get_origin(option) is tuple and arguments[1:] == (...,) and dataclasses.is_dataclass(arguments[0]):
            if not isinstance(value, list | tuple):
                break
            item = typing.cast(type[Any], arguments[0])
            return tuple(_from_mapping(item, v, where, f"{path[:-1]}[{k}].", depth + 1) for k, v in enumerate(value))
    return converted(value, hint, path.rstrip("."))


def assign(settings: T, assignments: Sequence[str]) -> T:
    """The same settings with `GROUP.NAME=VALUE` changed, as `--set` takes them. Raises ConfigError."""
    if isinstance(assignments, str) or not isinstance(assignments, Sequence):
        raise ConfigError(f"settings are a list of NAME=VALUE, not {shown(assignments)}")
    for text in assignments:
        if not isinstance(text, str):
            raise ConfigError(f"a setting is NAME=VALUE, not {shown(text)}")
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise ConfigError(f"a setting is NAME=VALUE, not {shown(text)}")
        settings = _assigned(settings, name.strip().split("."), value.strip(), name.strip())
    return settings


def _assigned(settings: T, path: list[str], value: str, full: str) -> T:
    fields = hints(type(settings))
    if path[0] not in fields:
        prefix = full[: len(full) - len(".".join(path))]
        raise ConfigError(unknown(full, [prefix + name for name in names_of(type(settings))]))
    current = getattr(settings, path[0])
    new: Any
    if len(path) > 1:
        if not dataclasses.is_dataclass(current):
            raise ConfigError(f"{full}: {path[0]} is one value, not a group")
        new = _assigned(current, path[1:], value, full)
    elif value.lower() == "none" and type(None) in _options(fields[path[0]]):
        new = None
    elif dataclasses.is_dataclass(current):
        raise ConfigError(f"{full} is a group of settings: {', '.join(f'{full}.{n}' for n in hints(type(current)))}")
    else:
        new = converted(_parsed(value, fields[path[0]]), fields[path[0]], full)
    try:
        return dataclasses.replace(typing.cast(Any, settings), **{path[0]: new})
    except ConfigError as error:
        raise ConfigError(f"{full}={value[:60]}: {error}") from error


def _parsed(text: str, hint: Any) -> Any:
    """The value that `text` means where a `hint` is wanted."""
    if any(option is str or get_origin(option) is Literal for option in _options(hint)):
        return text
    if "," in text and any(get_origin(option) is tuple for option in _options(hint)):
        return [_parsed(part.strip(), float) for part in text.split(",")]
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def names_of(cls: Any, prefix: str = "") -> list[str]:
    """All settings of a dataclass by their full names, groups flattened."""
    found = []
    for name, hint in hints(cls).items():
        group = group_of(hint)
        found += names_of(group, f"{prefix}{name}.") if group else [prefix + name]
    return found


def group_of(hint: Any) -> Any:
    """The dataclass that a field holds or may hold, None for a single value."""
    return next((option for option in _options(hint) if dataclasses.is_dataclass(option)), None)


def unknown(name: str, known: Sequence[str]) -> str:
    """The message for a name that does not exist, with the nearest that does."""
    near = difflib.get_close_matches(name, known, 1, 0.5)
    listed = ", ".join(known[:SHOWN_NAMES]) + (f" and {len(known) - SHOWN_NAMES} more" * (len(known) > SHOWN_NAMES))
    hint = f": did you mean {near[0]!r}?" if near else f"; known: {listed}"
    return f"there is no setting {shown(name)}{hint}"


def expand_environment(text: str, environment: Mapping[str, str] | None = None) -> str:
    """`text` with each ${NAME} replaced by that variable of the environment. Raises ConfigError where it is not set."""
    values = os.environ if environment is None else environment

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            raise ConfigError(f"the environment has no variable {match[1]} (for ${{{match[1]}}})")
        return values[match[1]]

    return _VARIABLE.sub(value, text)


def describe(hint: Any) -> str:
    """A type and its range in words: "a number between 0 and 1"."""
    options = [o for o in _options(hint) if o is not type(None)]
    metas = [m for m in _metadata(hint) if isinstance(m, msgspec.Meta)]
    text = " or ".join(_noun(option) for option in options)
    for meta in metas:
        if meta.ge is not None and meta.le is not None:
            text += f" between {_bound(meta.ge)} and {_bound(meta.le)}"
        elif meta.gt is not None:
            text += f" above {_bound(meta.gt)}" + (f" and at most {_bound(meta.le)}" if meta.le is not None else "")
        elif meta.ge is not None:
            text += f" of at least {_bound(meta.ge)}"
    return text + (" or none" if type(None) in _options(hint) else "")


def _bound(value: float) -> str:
    return str(int(value)) if value == int(value) else f"{value:g}"


def _noun(option: Any) -> str:
    if get_origin(option) is Literal:
        return f"one of {', '.join(map(str, get_args(option)))}"
    if get_origin(option) is tuple:
        arguments = get_args(option)
        return f"a list of {'' if arguments[1:] == (...,) else len(arguments)} values".replace("  ", " ")
    nouns = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", dict: "a table"}
    return nouns.get(get_origin(option) or option, getattr(option, "__name__", str(option)))


def meaning(hint: Any) -> str:
    """The sentence that stands with a field."""
    return next((m for m in _metadata(hint) if isinstance(m, str)), "")


def hints(cls: Any) -> dict[str, Any]:
    """Field name -> type with its annotations."""
    return _hints(cls)


@functools.lru_cache(maxsize=256)
def _hints(cls: Any) -> dict[str, Any]:
    found = typing.get_type_hints(cls, include_extras=True)
    return {field.name: found[field.name] for field in dataclasses.fields(cls) if field.init}


def _options(hint: Any) -> tuple[Any, ...]:
    """The alternatives of a type, without annotations."""
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    if get_origin(hint) in (types.UnionType, typing.Union):
        return tuple(option for part in get_args(hint) for option in _options(part))
    return (hint,)


def _metadata(hint: Any) -> tuple[Any, ...]:
    if get_origin(hint) is Annotated:
        return get_args(hint)[1:] + _metadata(get_args(hint)[0])
    if get_origin(hint) in (types.UnionType, typing.Union):
        return tuple(m for part in get_args(hint) for m in _metadata(part))
    return ()


def _holds(value: Any, wrong: Callable[[Any], bool]) -> bool:
    """Whether a value, or one in its lists, is `wrong`."""
    return any(_holds(part, wrong) for part in value) if isinstance(value, tuple | list) else wrong(value)


def shown(value: object) -> str:
    """A stranger's value in a message: not more than 60 characters of it."""
    try:
        text = repr(value)
    except Exception:  # a stranger's object, or one nested too deep
        text = type(value).__name__
    return text if len(text) <= 60 else text[:57] + "..."


def _required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
