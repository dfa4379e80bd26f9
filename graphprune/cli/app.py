"""The application: commands, and how it ends."""

import logging
import os
import sys
from typing import Any

import typer

from graphprune.cli import check, evaluate, experiment, inspect, opt, passes, report, verify
from graphprune.cli.config import Defaults, defaults, read_config, split_config
from graphprune.errors import GraphpruneError

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
    """How far is the decision boundary? Distances and local substitutes of ONNX networks."""


def run(arguments: list[str]) -> int:
    """Run a command; the exit code."""
    logging.basicConfig(level=logging.WARNING, format="graphprune: %(message)s")
    try:
        rest, path = split_config(arguments)
        result = app(
            args=rest, prog_name="graphprune", standalone_mode=False, default_map=_defaults(path)
        )
    except KeyboardInterrupt:
        _say("interrupted")
        return _leave(130)
    except GraphpruneError as error:
        _say(f"error: {error}")
        return 2
    except (OSError, MemoryError) as error:
        _say(f"error: {error or type(error).__name__}")
        return 2
    except Exception as error:
        return _unexpected(error, arguments)
    code = int(result or 0)
    return _leave(code) if code == 130 else code


def _defaults(path: str | None) -> Defaults:
    """Defaults from a configuration file, for the parameters of every command."""
    table, where = read_config(path)
    if not table:
        return {}
    group: Any = typer.main.get_command(app)
    options = {
        name: {
            option.removeprefix("--"): parameter.name
            for parameter in command.params
            for option in parameter.opts
            if option.startswith("--")
        }
        for name, command in group.commands.items()
    }
    return defaults(table, where, options)


def _unexpected(error: Exception, arguments: list[str]) -> int:
    """Typer's own usage errors show themselves; anything else is ours to be told of."""
    show = getattr(error, "show", None)
    if show is not None:
        show()
        return int(getattr(error, "exit_code", 2))
    if type(error).__name__ == "Abort":
        return _leave(130)
    if "--verbose" in arguments:
        import traceback

        traceback.print_exc()
    _say(
        f"internal error: {type(error).__name__}: {error}; please report it (--verbose shows where)"
    )
    return 2


def _leave(code: int) -> int:
    """End at once even where a solver's thread still runs."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _say(message: str) -> None:
    print(f"graphprune: {message}", file=sys.stderr, flush=True)
