"""Typer's parameters from a dataclass whose fields are declared by `graphprune.evaluate.option`."""

import inspect
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, fields, is_dataclass
from typing import Annotated, Any, Literal, TypeVar, get_origin, get_type_hints

import typer

from graphprune.cli.groups import group_of
from graphprune.errors import GraphpruneError
from graphprune.evaluate.option import Option, option_of, required

Options = TypeVar("Options")
# The parameter in which Typer passes where values come from.
CONTEXT = "context"


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
        make: Any = typer.Option if o.flags else typer.Argument
        more: dict[str, Any] = {} if o.parse is None else {"parser": _reader(o.parse)}
        if o.choices or o.suggestions:
            more["autocompletion"] = lambda incomplete: o.complete(incomplete)
        shown = make(
            *o.flags, help=o.help, min=o.least, metavar=o.metavar,
            rich_help_panel=group_of(self.name), **more,
        )  # fmt: skip
        return inspect.Parameter(
            self.name, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=self.default,
            annotation=Annotated[self.kind, shown],
        )  # fmt: skip


def _reader(parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The reader of a value whose errors say which option, or which file, they are about."""

    def read(text: Any) -> Any:
        try:
            return parse(text)
        except GraphpruneError as error:
            raise typer.BadParameter(str(error)) from None

    return read


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
    check: Callable[[Options, Collection[str]], None] | None = None,
) -> None:
    """Add a command that calls `run` with its options, checked.

    Parameters
    ----------
    name, help
        Those of `run` unless given.
    check
        Refuses options that do not fit each other, told which fields the command line names.
    """

    def called(given: Collection[str], **values: Any) -> int:
        found = checked(options, values, given)
        if check is not None:
            check(found, given)
        return run(found)

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
    """Add a command with these parameters to an application.

    Parameters
    ----------
    called
        Takes the names of the parameters that the command line names, then all of them.
    """
    own = [parameter.typer() for parameter in parameters]
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    context = inspect.Parameter(CONTEXT, kind, annotation=typer.Context)

    def invoked(**values: Any) -> int:
        source = values.pop(CONTEXT).get_parameter_source
        return called([name for name in values if source(name).name == "COMMANDLINE"], **values)

    # Typer reads names, annotations and defaults.
    invoked.__signature__ = inspect.Signature([context, *own])  # type: ignore[attr-defined]
    invoked.__annotations__ = {p.name: p.annotation for p in (context, *own)}
    app.command(name, help=help, epilog=epilog)(invoked)


def checked(options: type[Options], values: dict[str, Any], given: Collection[str] = ()) -> Options:
    """The options of a command line, each within its choices and limits.

    Parameters
    ----------
    given
        The fields that the command line names, which have to change something.

    Raises
    ------
    GraphpruneError
        A value is not known, out of range, or without effect.
    """
    assert is_dataclass(options)
    declared = {f.name: option_of(f) for f in fields(options)}
    found = options(**{name: declared[name].checked(value) for name, value in values.items()})
    defaults = {f.name: f.default for f in fields(options)}
    for name in given:
        needs = declared[name].needs
        if needs and all(values[other] == defaults[other] for other in needs):
            others = " or ".join(declared[other].name for other in needs)
            raise GraphpruneError(f"{declared[name].name} changes nothing without {others}")
    return found
