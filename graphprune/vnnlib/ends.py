"""Ends of input boxes, exact: as the text of the file, or as a fraction that was computed.

A property may state millions of them, and most are only needed as floats: a fraction is made of a
text when one is asked for.
"""

from decimal import Decimal
from fractions import Fraction

# A finite decimal number in the spelling of Python, or a fraction.
End = str | Fraction


def fraction(end: End) -> Fraction:
    """The end itself."""
    return Fraction(end)


def compare(value: float, end: End) -> int:
    """The sign of a finite float less an end, in exact arithmetic."""
    if isinstance(end, str):
        a, b = Decimal(value), Decimal(end)
        return (a > b) - (a < b)
    exact = Fraction(value)
    return (exact > end) - (exact < end)


def order(a: End, b: End) -> int:
    """The sign of a less b, in exact arithmetic."""
    # Floats are the nearest ones: where they differ, so do the ends, in the same order.
    near, other = float(a), float(b)
    if near != other:
        return (near > other) - (near < other)
    if a == b:
        return 0
    exact, reference = Fraction(a), Fraction(b)
    return (exact > reference) - (exact < reference)
