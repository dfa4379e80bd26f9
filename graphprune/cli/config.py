"""Defaults from a file: ``graphprune.toml``, or ``[tool.graphprune]`` of ``pyproject.toml``.

Keys are long option names. At the top level they hold for every command that has the option; a
table of a command's name holds for it alone (``[experiment.run]``: for one of a group). The command
line always wins.
"""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from graphprune.errors import GraphpruneError, nearest

Defaults = dict[str, dict[str, Any]]


def split_config(arguments: list[str]) -> tuple[list[str], str | None]:
    """Arguments without ``--config FILE``, and the file."""
    rest: list[str] = []
    path: str | None = None
    given = iter(arguments)
    for argument in given:
        if argument == "--":
            return [*rest, argument, *given], path
        if argument == "--config":
            path = next(given, "")
        elif argument.startswith("--config="):
            path = argument.removeprefix("--config=")
        else:
            rest.append(argument)
    if path == "":
        raise GraphpruneError("--config names no file")
    return rest, path


def read_config(path: str | None) -> tuple[dict[str, Any], str]:
    """(table, how messages name it) of the file given, or of the one in this folder.

    Raises
    ------
    GraphpruneError
        The file is missing or no TOML.
    """
    if path is not None:
        table = _toml(Path(path))
        name = Path(path).name
        return (_tool(table) if name == "pyproject.toml" else table), path
    if Path("graphprune.toml").is_file():
        return _toml(Path("graphprune.toml")), "graphprune.toml"
    if Path("pyproject.toml").is_file():
        return _tool(_toml(Path("pyproject.toml"))), "pyproject.toml [tool.graphprune]"
    return {}, ""


def _tool(table: Mapping[str, Any]) -> dict[str, Any]:
    return dict(table.get("tool", {}).get("graphprune", {}))


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise GraphpruneError(f"{path}: cannot read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise GraphpruneError(f"{path}: not TOML: {error}") from None


def defaults(
    table: Mapping[str, Any], where: str, options: Mapping[str, Mapping[str, Any]]
) -> Defaults:
    """Per command, its parameters' defaults.

    Parameters
    ----------
    options
        Per command (``group command`` in a group), its long options without dashes in front, and
        the parameter (Typer's) each sets.

    Raises
    ------
    GraphpruneError
        A key that is no option (with the nearest one that is).
    """
    found: Defaults = {command: {} for command in options}
    every = sorted({name for known in options.values() for name in known})
    for key, value in table.items():
        if isinstance(value, dict):
            continue
        takers = [command for command, known in options.items() if key in known]
        if not takers:
            raise GraphpruneError(f"{where}: no option '{key}'{nearest(key, every)}")
        for command in takers:
            # Files to write (-o) differ from command to command.
            if "-o" not in options[command][key].opts:
                found[command] |= _default(options[command][key], value)
    for command, own in _tables(table, where, options):
        for key, value in own.items():
            known = options[command]
            if key not in known:
                near = nearest(key, list(known))
                raise GraphpruneError(f"{where}: {command} has no option '{key}'{near}")
            found[command] |= _default(known[key], value)
    return found


def _tables(
    table: Mapping[str, Any], where: str, options: Mapping[str, Any]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Commands, those of groups as ``group command``, and their tables."""
    groups = {command.split()[0] for command in options if " " in command}
    for key, own in table.items():
        if not isinstance(own, dict):
            continue
        if key in options:
            yield key, own
        elif key in groups:
            for name, inner in own.items():
                if f"{key} {name}" not in options or not isinstance(inner, dict):
                    names = [c.split()[1] for c in options if c.startswith(f"{key} ")]
                    raise GraphpruneError(
                        f"{where}: {key} has no command '{name}'{nearest(name, names)}"
                    )
                yield f"{key} {name}", inner
        else:
            names = [*options, *groups]
            raise GraphpruneError(f"{where}: no command '{key}'{nearest(key, names)}")


def _default(parameter: Any, value: Any) -> dict[str, Any]:
    """A parameter's default; a single value of an option that may be repeated is one of them."""
    several = getattr(parameter, "multiple", False)
    return {parameter.name: [value] if several and not isinstance(value, list) else value}
