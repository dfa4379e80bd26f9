"""Tables in Markdown, row by row, so that a long run shows what it has."""

from collections.abc import Iterable


def row(cells: Iterable[object]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def head(names: Iterable[str]) -> str:
    """The head of a table, with the line below it."""
    names = list(names)
    return row(names) + "\n|" + "---|" * len(names)
