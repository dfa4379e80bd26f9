"""Typer's parameters from a dataclass whose fields are declared by `graphprune.evaluate.option`."""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, is_dataclass
from typing import Annotated, Any, Literal, TypeVar, get_origin, get_type_hints

import typer

from graphprune.evaluate.option import Option, option_of, required

Options = TypeVar("Options")


@dataclass(frozen=True)
class CommandParameter:
    """One parameter of a command."""

    name: str
    kind: Any
    option: Option
    default: object = inspect.Parameter.empty

    def typer(self) -> inspect.Parameter:
        """The parameter as Typer reads it in a signature."""
        o = self.option
        make = typer.Option if o.flags else typer.Argument
        shown = make(*o.flags, help=o.help, min=o.least, metavar=o.metavar)
        return inspect.Parameter(
            self.name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=self.default,
            annotation=Annotated[self.kind, shown],
        )  # fmt: skip


def parameters_of(options: type) -> list[CommandParameter]:
    """The parameters that a dataclass of options declares, in order."""
    hints = get_type_hints(options)
    kinds = {name: str if get_origin(kind) is Literal else kind for name, kind in hints.items()}
    return [
        CommandParameter(
            f.name, kinds[f.name], option_of(f),
            inspect.Parameter.empty if required(f) else f.default,
        )
        for f in fields(options)
    ]  # fmt: skip


def command(
    app: typer.Typer,
    options: type[Options],
    run: Callable[[Options], int],
    *,
    name: str | None = None,
    help: str | None = None,
    epilog: str | None = None,
) -> None:
    """Add a command that calls `run` with its options, checked.

    Parameters
    ----------
    name, help
        Those of `run` unless given.
    """

    def called(**values: Any) -> int:
        return run(checked(options, values))

    add(app, parameters_of(options), called, name=name or run.__name__, help=help or run.__doc__,
        epilog=epilog)  # fmt: skip


def add(
    app: typer.Typer,
    parameters: Iterable[CommandParameter],
    called: Callable[..., int],
    *,
    name: str,
    help: str | None,
    epilog: str | None,
) -> None:
    """Add a command with these parameters to an application."""
    own = [parameter.typer() for parameter in parameters]
    # Typer reads names, annotations and defaults.
    called.__signature__ = inspect.Signature(own)  # type: ignore[attr-defined]
    called.__annotations__ = {p.name: p.annotation for p in own}
    app.command(name, help=help, epilog=epilog)(called)


def checked(options: type[Options], values: dict[str, Any]) -> Options:
    """The options of a command line, each within its choices and limits.

    Raises
    ------
    GraphpruneError
        A value is not known, or out of range.
    """
    assert is_dataclass(options)
    declared = {f.name: option_of(f) for f in fields(options)}
    return options(**{name: declared[name].checked(value) for name, value in values.items()})
