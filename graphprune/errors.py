"""Errors people cause and can mend: one message naming the file, the node and the remedy."""

from collections.abc import Iterable
from types import UnionType


class GraphpruneError(Exception):
    """Bad input or bad usage; the command line prints it as one message and exits with 2."""


class ModelError(GraphpruneError):
    """The model file cannot be read, is not valid ONNX, or holds unusable numbers."""


class UnsupportedError(ModelError):
    """The model is valid ONNX but uses something outside the supported language."""


class AnchorError(GraphpruneError):
    """The anchors do not fit the network or are not usable points."""


class PipelineError(GraphpruneError):
    """A pipeline text names an unknown pass or option, or a value of the wrong type."""


class OutOfTimeError(GraphpruneError):
    """A pipeline's deadline is over."""


class PluginError(GraphpruneError):
    """A third-party pass or operator cannot be loaded."""


class OutputError(GraphpruneError):
    """A result cannot be written."""


def nearest(name: str, known: "list[str]") -> str:
    """``; did you mean 'x'?`` for the known name closest to `name`, or a list of all of them."""
    import difflib

    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else f"; known: {', '.join(sorted(known))}"


def check_known(kind: str, name: str, known: Iterable[str]) -> None:
    """Refuse a name that is none of the known ones.

    Raises
    ------
    GraphpruneError
        It names the closest one.
    """
    if name not in known:
        raise GraphpruneError(f"unknown {kind} '{name}'{nearest(name, list(known))}")


def check_kind(given: object, kind: type | UnionType, expected: str) -> None:
    """Refuse an argument of another type, with how to get one of the right type.

    Raises
    ------
    GraphpruneError
        `given` is no `kind`.
    """
    if not isinstance(given, kind):
        raise GraphpruneError(f"expected {expected}, not {type(given).__name__}")


def check_options(function: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Refuse keywords that a function with typed ``**options`` does not have.

    Raises
    ------
    TypeError
        As Python words it for a function that lists its parameters.
    """
    names = list(known)
    for name in given:
        if name not in names:
            raise TypeError(
                f"{function}() got an unexpected keyword argument '{name}'{nearest(name, names)}"
            )
