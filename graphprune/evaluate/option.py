"""Fields that a command line can ask for: one declaration with type, default, help and checks.

A dataclass of settings declares its fields with `option`; the command line makes its parameters
from them. Nothing heavy is imported here, so that ``--help`` stays fast.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, replace
from math import inf, isfinite
from numbers import Real
from typing import Any, Literal

from graphprune.errors import GraphpruneError, nearest

Check = Literal["positive", "not negative", "finite"]


@dataclass(frozen=True)
class Option:
    """The form in which a command line asks for a field.

    Attributes
    ----------
    help
        Its line of ``--help``.
    flags
        Its names; without any it is a positional argument.
    choices
        The values that are known, found when one is checked.
    check
        ``positive`` and ``not negative`` numbers may be infinite, which is the same as none;
        ``finite`` ones are positive too.
    least
        The smallest value that is accepted.
    metavar
        The name of the value in help.
    metrics
        The metrics that it is about; without any, all of them.
    needs
        Fields of which one has to be asked for too: without them it changes nothing.
    suggestions
        Beginnings of values that a shell completes; the choices unless given.
    parse
        Reads the text of a command line, or the value of a configuration file.
    """

    help: str
    flags: tuple[str, ...]
    choices: Callable[[], Sequence[str]] | None = None
    check: Check | None = None
    least: float | None = None
    metavar: str | None = None
    metrics: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    suggestions: Callable[[], Sequence[str]] | None = None
    parse: Callable[[Any], Any] | None = None

    def complete(self, text: str) -> list[str]:
        """The known values that begin with a text."""
        found = self.suggestions or self.choices
        return [] if found is None else [value for value in found() if value.startswith(text)]

    @property
    def name(self) -> str:
        """Its first name, as messages call it."""
        return str(self.flags[0] if self.flags else self.metavar)

    def about(self, metrics: Collection[str]) -> bool:
        """True where it can change something of one of these metrics."""
        return not self.metrics or bool(set(self.metrics) & set(metrics))

    def checked(self, value: Any, name: str | None = None) -> Any:
        """The value of the field for a value of the command line, or of Python.

        Parameters
        ----------
        name
            Its name in messages; the first flag unless given.

        Raises
        ------
        GraphpruneError
            It is none of the choices (the message names the nearest one), or not such a number.
        """
        name = name or self.name
        if self.choices is not None:
            one_of(name, value, self.choices())
        if value is None or (self.check is None and self.least is None):
            return value
        _require_number(value, name)
        # Written so that NaN is refused.
        if self.least is not None and not value >= self.least:
            raise GraphpruneError(f"{name} must be at least {self.least:g}, not {value}")
        return self._in_range(value, name)

    def _in_range(self, value: Any, name: str) -> Any:
        if self.check is None:
            return value
        if self.check == "finite":
            if value > 0 and isfinite(value):
                return value
            raise GraphpruneError(f"{name} must be a positive number, not {value}")
        if value > 0 or (self.check == "not negative" and value == 0):
            return None if value == inf else value
        needed = "positive" if self.check == "positive" else ">= 0"
        raise GraphpruneError(f"{name} must be {needed}, not {value}")


def _require_number(value: Any, name: str) -> None:
    """Refuse what cannot be compared with a number."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise GraphpruneError(f"{name} must be a number, not {value!r}")


def one_of(name: str, value: str, known: Sequence[str]) -> str:
    """Return `value`, or raise an error naming the nearest known one."""
    if value not in known:
        raise GraphpruneError(f"{name}: unknown value '{value}'{nearest(str(value), list(known))}")
    return value


def option(help: str, *flags: str, **more: Any) -> dict[str, Option]:
    """Metadata of a dataclass field that a command line can ask for.

    Parameters
    ----------
    flags
        As ``--time-limit``.
    more
        Further fields of `Option`.
    """
    return {"option": Option(help, flags, **more)}


def again(source: type, name: str, **changed: Any) -> Any:
    """The option that another dataclass declares, for a dataclass that asks for it too.

    Parameters
    ----------
    changed
        Fields of `Option` that differ here, or the `default`.
    """
    known = {f.name: f for f in fields(source)}[name]
    default = changed.pop("default", known.default)
    return field(default=default, metadata={"option": replace(option_of(known), **changed)})


def option_of(declared: Field[Any]) -> Option:
    """The declaration of a field."""
    found: Option = declared.metadata["option"]
    return found


def required(declared: Field[Any]) -> bool:
    """True where a command line has to ask for a field."""
    return declared.default is MISSING
