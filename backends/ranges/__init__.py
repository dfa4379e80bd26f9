"""Branch and bound over ranges of pre-activations, for networks of any functions and products.

The range of a neuron's pre-activation is split where its relaxation is loose: both parts have
closer lines, and the split itself is a constraint with a multiplier in the part's bound. ReLU
phases are the case of a range split at 0.

Read first: ``solver.py`` (one radius step), ``tree.py`` (the open cases), ``relaxation.py`` (their
bounds, by :mod:`graphprune.bounds.compact.cases`), ``splitting.py`` (which range is split where).
"""

from graphprune.backends.ranges.relaxation import RangeRelaxation, require_ranges
from graphprune.backends.ranges.settings import DEFAULT, RangeSettings
from graphprune.backends.ranges.solver import RangeSearch
from graphprune.backends.ranges.tree import RangeTree

__all__ = [
    "DEFAULT",
    "RangeRelaxation",
    "RangeSearch",
    "RangeSettings",
    "RangeTree",
    "require_ranges",
]
