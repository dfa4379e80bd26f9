"""Properties in VNN-LIB: boxes of inputs, and unsafe sets of outputs as unions of polytopes."""

from graphprune.vnnlib.parser import parse_property, read_property
from graphprune.vnnlib.property import Box, Constraint, Property, Region

__all__ = ["Box", "Constraint", "Property", "Region", "parse_property", "read_property"]
