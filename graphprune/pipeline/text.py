"""Pipeline text: ``name{option=value option=value}, name``, as in mlir-opt."""

from collections.abc import Mapping, Sequence

from graphprune import passes
from graphprune.errors import PipelineError, nearest
from graphprune.option_text import build, split, unparsed
from graphprune.passes.base import PASSES, Pass


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


def make_pass(name: str, options: Mapping[str, str]) -> Pass:
    """A pass from its name and the texts of its options."""
    known = known_passes()
    if name not in known:
        raise PipelineError(f"unknown pass '{name}'{nearest(name, list(known))}")
    return build(known[name], name, options)


def unparse(sequence: Sequence[Pass]) -> str:
    """Text of passes, with the options that differ from their defaults."""
    return ", ".join(unparsed(item.name, item) for item in sequence)
