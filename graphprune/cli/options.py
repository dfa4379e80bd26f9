"""The meaning of texts that several commands take."""

import re
from collections.abc import Mapping

from graphprune.errors import GraphpruneError


def parse_domain(text: str) -> tuple[float, float]:
    """``LO,HI`` or ``none``."""
    if text.strip().lower() == "none":
        return float("-inf"), float("inf")
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise GraphpruneError(f"--domain takes LO,HI or none, not '{text}'") from None
    if not low < high:
        raise GraphpruneError(f"--domain {text}: LO must be below HI")
    return low, high


def parse_indices(text: str | None, option: str = "--index") -> list[int] | None:
    """``I,J,K``, and ranges ``I-K`` with both ends; `option` is named in messages."""
    if text is None:
        return None
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:\s*-\s*(\d+))?\s*", part)
        if match is None:
            raise GraphpruneError(f"{option} takes numbers as I,J,K or I-K, not '{text}'")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise GraphpruneError(f"{option} {text}: {part.strip()} ends before it begins")
        found += range(first, last + 1)
    return found


def in_options(text: str, flags: Mapping[str, str]) -> str:
    """A message that names arguments of Python, with a command's own options in their place.

    Parameters
    ----------
    text
        As ``name one with `output=NAME` ``.
    flags
        A command's options by the names of their fields; an argument `x` is the field ``x_name``
        where there is one.
    """

    def named(found: re.Match[str]) -> str:
        name, value = found.groups()
        flag = flags.get(f"{name}_name", flags.get(name))
        return found.group() if flag is None else f"{flag} {value}"

    return re.sub(r"`(\w+)=([^`]+)`", named, text)


def be_verbose(on: bool) -> None:
    """Show what is logged: which provider is used, what was fallen back from."""
    if on:
        import logging

        logging.getLogger("graphprune").setLevel(logging.INFO)
