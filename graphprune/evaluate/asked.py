"""Completeness of a d_bnd: known as well as it was asked for, or cut by a limit."""

from collections.abc import Mapping
from typing import Any


def as_asked(lower: float, upper: float | None, status: str, settings: Mapping[str, Any]) -> bool:
    """Return whether a d_bnd needs no more time.

    Parameters
    ----------
    status
        The d_bnd's.
    settings
        The run's, as JSON: intervals as narrow as its gap are complete, at points within its
        radius.
    """
    if status != "interval":
        return True
    gap, radius = settings.get("gap"), settings.get("radius")
    if gap is None or upper is None or (radius is not None and upper > radius):
        return False
    return bool(upper - lower <= gap * upper)
