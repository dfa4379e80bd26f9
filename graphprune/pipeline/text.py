"""Pipeline text: ``name{option=value option=value}, name``, as in mlir-opt."""

import dataclasses
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from graphprune import passes
from graphprune.errors import PipelineError, nearest
from graphprune.passes.base import PASSES, OneOf, Pass

B = TypeVar("B")

_PASS = re.compile(r"\s*([A-Za-z][\w-]*)\s*(?:\{([^{}]*)\})?\s*")


def known_passes() -> Mapping[str, type[Pass]]:
    """Every registered pass by name."""
    passes.install()
    return PASSES


def parse(text: str) -> tuple[Pass, ...]:
    """Passes of a pipeline text; inverse of `unparse`.

    Raises
    ------
    PipelineError
        Unknown pass or option (with the nearest known name), or a value of the wrong type.
    """
    return tuple(make_pass(name, options) for name, options in split(text))


def split(text: str) -> list[tuple[str, dict[str, str]]]:
    """Names with the texts of their options, in order."""
    found = []
    position = 0
    while position < len(text):
        match = _PASS.match(text, position)
        if match is None:
            raise PipelineError(f"pipeline '{text}': expected a pass name at '{text[position:]}'")
        found.append((match[1], _options(match[1], match[2] or "")))
        position = match.end()
        if position < len(text):
            if text[position] != ",":
                raise PipelineError(f"pipeline '{text}': expected ',' at '{text[position:]}'")
            position += 1
            if not text[position:].strip():
                raise PipelineError(f"pipeline '{text}': ends with ','")
    return found


def make_pass(name: str, options: Mapping[str, str]) -> Pass:
    """A pass from its name and the texts of its options."""
    known = known_passes()
    if name not in known:
        raise PipelineError(f"unknown pass '{name}'{nearest(name, list(known))}")
    return build(known[name], name, options)


def build(cls: Callable[..., B], name: str, options: Mapping[str, str]) -> B:
    """An instance of a dataclass from the texts of its fields."""
    types_of = option_types(cls)
    values = {}
    for option, value in options.items():
        if option not in types_of:
            raise PipelineError(
                f"pass '{name}' has no option '{option}'{nearest(option, list(types_of))}"
                if types_of
                else f"pass '{name}' has no options"
            )
        values[option] = _convert(name, option, value, types_of[option])
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
    return str(kind.__name__)


def option_choices(kind: Any) -> list[str]:
    """Names that an option annotated with `OneOf` takes."""
    return [name for mark in kind.__metadata__ if isinstance(mark, OneOf) for name in mark.known()]


def unparse(sequence: Sequence[Pass]) -> str:
    """Text of passes, with the options that differ from their defaults."""
    return ", ".join(_unparse(item) for item in sequence)


def _unparse(item: Pass) -> str:
    parts = []
    for f in dataclasses.fields(item):  # type: ignore[arg-type]
        value = getattr(item, f.name)
        if value != f.default:
            text = "+".join(map(str, value)) if isinstance(value, tuple) else str(value)
            parts.append(f"{f.name}={text}")
    return item.name + ("{" + " ".join(parts) + "}" if parts else "")


def _options(name: str, text: str) -> dict[str, str]:
    options: dict[str, str] = {}
    for part in re.split(r"[\s,]+", text.strip(" ,")) if text.strip(" ,") else ():
        option, equals, value = part.partition("=")
        if not equals or not option or not value:
            raise PipelineError(f"pass '{name}': write options as name=value, not '{part}'")
        if option in options:
            raise PipelineError(f"pass '{name}': option '{option}' is given twice")
        options[option] = value
    return options


def _convert(name: str, option: str, text: str, kind: Any) -> Any:
    try:
        return _value(text, kind)
    except ValueError:
        raise PipelineError(
            f"pass '{name}': option '{option}' takes {describe_type(kind)}, not '{text}'"
        ) from None


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
