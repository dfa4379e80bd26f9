"""The compact engine: bound propagation on the CPU in float64, on blocks of weights.

In comes a problem of :mod:`graphprune.bounds`; out come its bounds, by compiled loops that touch
the receptive fields of rows only.

Read first: `layout.py` (the arrays of a network), `backward.py` (rows on their way down),
`engine.py` (the calls of the loops).
"""

from graphprune.bounds.compact.layout import Compact, compact, worthwhile

__all__ = ["Compact", "compact", "worthwhile"]
