"""Durations as people write them."""

import re
from typing import Any

from graphprune.errors import GraphpruneError

UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}


def parse_duration(text: Any) -> float:
    """Seconds of ``90``, ``90s``, ``1.5m``, ``2h`` or ``inf``; of a number itself.

    Raises
    ------
    GraphpruneError
        It is none of these.

    Examples
    --------
    >>> parse_duration("90"), parse_duration("1.5m"), parse_duration("2h"), parse_duration(7)
    (90.0, 90.0, 7200.0, 7.0)
    """
    match = re.fullmatch(r"\s*([^a-z]+|inf)\s*([a-z]*)\s*", str(text).lower())
    try:
        if match is None or match[2] not in UNITS:
            raise ValueError(text)
        return float(match[1]) * UNITS[match[2]]
    except ValueError:
        raise GraphpruneError(f"'{text}' is no duration: write seconds, or 10s, 2m, 1h") from None
