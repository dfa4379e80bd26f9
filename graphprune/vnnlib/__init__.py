"""Properties in VNN-LIB: boxes of inputs, and unsafe sets of outputs as unions of polytopes.

In: the text of a property. Out: its disjunctive normal form in exact fractions, and the decision
whether a concrete input and output satisfy it.

Read `property`, `parser` and `normal_form` first.
"""

from graphprune.vnnlib.files import read_property
from graphprune.vnnlib.parser import parse_property
from graphprune.vnnlib.property import Constraint, Disjunct, Property, RationalBox

__all__ = ["Constraint", "Disjunct", "Property", "RationalBox", "parse_property", "read_property"]
