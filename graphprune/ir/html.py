"""Small tables, which notebooks show of an object."""

from collections.abc import Sequence
from html import escape


def table(head: Sequence[object], rows: Sequence[Sequence[object]], caption: str = "") -> str:
    """An HTML table; everything is escaped."""
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    top = "".join(f"<th>{escape(str(cell))}</th>" for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table>{title}<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
