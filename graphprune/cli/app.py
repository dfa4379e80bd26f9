"""The application: commands, and how it ends."""

import logging
import os
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import typer

from graphprune.cli import check, evaluate, experiment, inspect, opt, passes, report, verify, warm
from graphprune.cli.config import defaults, read_config, split_config
from graphprune.cli.options import in_options
from graphprune.errors import GraphpruneError, nearest

# 128 + SIGPIPE: what a shell reports of a tool that a closed pipe ended.
CLOSED_PIPE = 141
# Set by the shell that completes a command line.
COMPLETE = "_GRAPHPRUNE_COMPLETE"

app = typer.Typer(
    name="graphprune",
    help="How far is the decision boundary? Distances and local substitutes of ONNX networks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
evaluate.register(app)
opt.register(app)
inspect.register(app)
passes.register(app)
check.register(app)
report.register(app)
experiment.register(app)
verify.register(app)
warm.register(app)


def _version(value: bool) -> None:
    if value:
        from graphprune import __version__

        typer.echo(f"graphprune {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
    config: str = typer.Option(
        "",
        "--config",
        metavar="FILE",
        help="Defaults of options; else graphprune.toml, or tool.graphprune in pyproject.toml.",
    ),
) -> None:
    """Take what every command has."""


class OncePerText(logging.Filter):
    """Lets a text through once: many anchors may have the same reason for it."""

    def __init__(self) -> None:
        super().__init__()
        self._said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        new = text not in self._said
        self._said.add(text)
        return new


def run(arguments: list[str]) -> int:
    """Run a command; the exit code."""
    handler = logging.StreamHandler()
    handler.addFilter(OncePerText())
    logging.basicConfig(level=logging.WARNING, format="graphprune: %(message)s", handlers=[handler])
    if COMPLETE in os.environ:  # a shell asks what may follow
        app(arguments, prog_name="graphprune")
    try:
        code = _invoke(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        _say("interrupted")
        return _leave(130)
    except GraphpruneError as error:
        _say(f"error: {error}")
        return 2
    except BrokenPipeError:
        return _unheard()
    except (OSError, MemoryError) as error:
        _say(f"error: {error or type(error).__name__}")
        return 2
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # Rich makes this of it
            return _unheard()
        raise
    except Exception as error:
        return _unexpected(error, arguments)
    return _leave(code) if code == 130 else code


def _invoke(arguments: list[str]) -> int:
    """Run a command as Typer would, without its own ways of ending for Ctrl-C and closed pipes."""
    rest, path = split_config(arguments)
    table, where = read_config(path)
    group: Any = typer.main.get_command(app)
    commands = dict(_commands(group))
    options = {name: _long_options(command) for name, command in commands.items()}
    own: dict[str, Any] = {}
    for name, values in defaults(table, where, options).items():
        place, *inner = name.split()
        own.setdefault(place, {}).update({inner[0]: values} if inner else values)
    _require_command(rest, group, set(commands))
    try:
        with group.make_context("graphprune", rest, default_map=own) as context:
            return int(group.invoke(context) or 0)
    except typer.Exit as end:
        return end.exit_code
    except typer.BadParameter as error:
        _blame_file(error, where)
        raise
    except Exception as error:
        called = next((n for n in (" ".join(rest[:2]), *rest[:1]) if n in options), None)
        if called is not None:
            _speak_of(called, error, options)
        raise


def _require_command(rest: Sequence[str], group: Any, commands: Collection[str]) -> None:
    """Refuse a command that there is not, naming the nearest one.

    Raises
    ------
    GraphpruneError
        The first word, or the second one of a group, is no command.
    """
    first, second = (*rest, "", "")[:2]
    words = first
    if any(command.startswith(f"{first} ") for command in commands):
        words = first if not second or second.startswith("-") else f"{first} {second}"
    if (
        first
        and not first.startswith("-")
        and words not in commands
        and words not in group.commands
    ):
        raise GraphpruneError(f"no command '{words}'{nearest(words, list(commands))}")


def _speak_of(called: str, error: Exception, options: Mapping[str, Mapping[str, Any]]) -> None:
    """Have a message name the options of the command that was called.

    Raises
    ------
    GraphpruneError
        The option that the command lacks is one of other commands.
    """
    if isinstance(error, GraphpruneError):
        flags = {parameter.name: f"--{flag}" for flag, parameter in options[called].items()}
        error.args = (in_options(str(error), flags),)
    missing = str(getattr(error, "option_name", "")).removeprefix("--")
    others = [name for name, known in options.items() if missing in known]
    if others:
        raise GraphpruneError(
            f"{called} has no option --{missing}, which would change nothing in it; it is one of"
            f" {', '.join(others)}"
        ) from None
    if missing:
        known = [f"--{flag}" for flag in options[called]]
        raise GraphpruneError(
            f"{called} has no option --{missing}{nearest(f'--{missing}', known)}"
        ) from None


def _long_options(command: Any) -> dict[str, Any]:
    """The parameters of a command by their long options, without dashes in front."""
    return {
        option.removeprefix("--"): parameter
        for parameter in command.params
        for option in parameter.opts
        if option.startswith("--")
    }


def _commands(group: Any) -> Iterator[tuple[str, Any]]:
    """Every command, those of groups as ``group command``."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from ((f"{name} {inner}", one) for inner, one in _commands(command))
        else:
            yield name, command


def _blame_file(error: typer.BadParameter, where: str) -> None:
    """Say so where a value that is wrong was read from the configuration file."""
    context, parameter = error.ctx, error.param
    if context is None or parameter is None or parameter.name is None:
        return
    source = context.get_parameter_source(parameter.name)
    if source is not None and source.name == "DEFAULT_MAP":
        option = parameter.opts[0].removeprefix("--")
        raise GraphpruneError(f"{where}: {option}: {error.message}") from None


def _unexpected(error: Exception, arguments: list[str]) -> int:
    """Typer's own usage errors show themselves; anything else is ours to be told of."""
    show, words = getattr(error, "show", None), getattr(error, "format_message", None)
    if show is not None and words is not None:
        if type(error).__name__ == "NoArgsIsHelpError" or not words():
            show()
        else:
            path = getattr(getattr(error, "ctx", None), "command_path", "graphprune")
            _say(f"error: {words().rstrip('.')} ({path} --help lists all options)")
        return int(getattr(error, "exit_code", 2))
    if "--verbose" in arguments:
        import traceback

        traceback.print_exc()
    group: Any = typer.main.get_command(app)
    command = dict(_commands(group)).get(arguments[0] if arguments else "")
    where = command is not None and "verbose" in _long_options(command)
    hint = " (--verbose shows where)" if where else ""
    _say(f"internal error: {type(error).__name__}: {error}; please report it{hint}")
    return 2


def _leave(code: int) -> int:
    """End at once even where a solver's thread still runs."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _unheard() -> int:
    """Nobody reads what is written, as after ``| head``: end without a word, as other tools do."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):  # what is still in their buffers goes nowhere
        os.dup2(nothing, stream.fileno())
    return CLOSED_PIPE


def _say(message: str) -> None:
    print(f"graphprune: {message}", file=sys.stderr, flush=True)
