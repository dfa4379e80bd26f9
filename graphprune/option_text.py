"""Texts of named things with options: ``name{option=value option=value}``, as in mlir-opt.

A thing is a dataclass whose fields are its options: passes, estimators and threat models are all
written, checked and listed by what is here.
"""

import dataclasses
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from graphprune.errors import GraphpruneError, PipelineError, nearest

B = TypeVar("B")

_NAMED = re.compile(r"\s*([A-Za-z][\w-]*)\s*(?:\{([^{}]*)\})?\s*")


@dataclass(frozen=True)
class OneOf:
    """Annotation of an option that takes a name out of an open set.

    ``rank: Annotated[str, OneOf(scores)]`` takes every name that `scores()` knows by then.
    """

    known: Callable[[], Iterable[str]]


def split(
    text: str, *, between: str = ",", whole: str = "pipeline", one: str = "pass"
) -> list[tuple[str, dict[str, str]]]:
    """Names with the texts of their options, in order.

    Parameters
    ----------
    between
        The character between two names.
    whole, one
        The text, and a part of it, in messages.
    """
    found = []
    position = 0
    while position < len(text):
        match = _NAMED.match(text, position)
        if match is None:
            raise PipelineError(f"{whole} '{text}': expected a {one} name at '{text[position:]}'")
        found.append((match[1], _options(one, match[1], match[2] or "")))
        position = match.end()
        if position < len(text):
            if text[position] != between:
                raise PipelineError(
                    f"{whole} '{text}': expected '{between}' at '{text[position:]}'"
                )
            position += 1
            if not text[position:].strip():
                raise PipelineError(f"{whole} '{text}': ends with '{between}'")
    return found


def build(cls: Callable[..., B], name: str, options: Mapping[str, str], *, one: str = "pass") -> B:
    """An instance of a dataclass from the texts of its fields.

    Parameters
    ----------
    one
        The kind of thing, in messages.
    """
    types_of = option_types(cls)
    values = {}
    for option, value in options.items():
        if option not in types_of:
            raise PipelineError(
                f"{one} '{name}' has no option '{option}'{nearest(option, list(types_of))}"
                if types_of
                else f"{one} '{name}' has no options"
            )
        values[option] = _convert(f"{one} '{name}'", option, value, types_of[option])
    missing = [
        f.name
        for f in dataclasses.fields(cls)  # type: ignore[arg-type]
        if f.default is dataclasses.MISSING and f.name not in values
    ]
    if missing:
        raise PipelineError(f"{one} '{name}' needs the option '{missing[0]}'")
    return cls(**values)


def option_types(cls: Callable[..., Any]) -> dict[str, Any]:
    """Options of a pass with their types, in order of declaration."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return {f.name: hints[f.name] for f in dataclasses.fields(cls)}  # type: ignore[arg-type]


def describe_type(kind: Any) -> str:
    """The type of an option as help texts write it."""
    if get_origin(kind) is Annotated:
        return "|".join(option_choices(kind))
    if get_origin(kind) is Literal:
        return "|".join(str(choice) for choice in get_args(kind))
    if get_origin(kind) is tuple:
        return "N+N+..."
    if get_origin(kind) in (Union, types.UnionType):
        return describe_type(next(k for k in get_args(kind) if k is not type(None)))
    return str(getattr(kind, "described", kind.__name__))


def option_choices(kind: Any) -> list[str]:
    """Names that an option annotated with `OneOf` takes."""
    return [name for mark in kind.__metadata__ if isinstance(mark, OneOf) for name in mark.known()]


def unparsed(name: str, item: object) -> str:
    """Text of a thing, with the options that differ from their defaults; inverse of `build`."""
    parts = []
    for f in dataclasses.fields(item):  # type: ignore[arg-type]
        value = getattr(item, f.name)
        if value != f.default:
            text = "+".join(map(str, value)) if isinstance(value, tuple) else str(value)
            parts.append(f"{f.name}={text}")
    return name + ("{" + " ".join(parts) + "}" if parts else "")


def _options(one: str, name: str, text: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for part in re.split(r"[\s,]+", text.strip(" ,")) if text.strip(" ,") else ():
        option, equals, value = part.partition("=")
        if not equals or not option or not value:
            raise PipelineError(f"{one} '{name}': write options as name=value, not '{part}'")
        if option in options:
            raise PipelineError(f"{one} '{name}': option '{option}' is given twice")
        options[option] = value
    return options


def _convert(name: str, option: str, text: str, kind: Any) -> Any:
    try:
        return _value(text, kind)
    except ValueError:
        raise PipelineError(
            f"{name}: option '{option}' takes {describe_type(kind)}, not '{text}'"
        ) from None
    except GraphpruneError as error:
        raise PipelineError(f"{name}: option '{option}': {error}") from None


def _value(text: str, kind: Any) -> Any:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        inner = next(k for k in get_args(kind) if k is not type(None))
        return None if text == "none" else _value(text, inner)
    if origin in (Literal, Annotated):
        if text not in (get_args(kind) if origin is Literal else option_choices(kind)):
            raise ValueError(text)
        return text
    if origin is tuple:
        return tuple(_value(part, get_args(kind)[0]) for part in text.split("+"))
    if kind is bool:
        if text not in ("true", "false"):
            raise ValueError(text)
        return text == "true"
    if kind is float:
        number = float(text)
        if number != number or number in (float("inf"), -float("inf")):
            raise ValueError(text)
        return number
    return kind(text)
