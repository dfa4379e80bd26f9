"""Threat models: which changes of an input count, and in which units they are measured.

Text such as ``normalise{mean=0.5 std=0.25} | mask{box=8+8+5+5}`` becomes a `Threat`, which makes
the question about an anchor into another one: on a smaller domain, or about a network with an
affine graph in front, x = x0 + B z. Attacks, bounds and searches answer that as any question.
Read `base` first (the kinds of models), then `threat` and `mask`.
"""

from graphprune.threats.base import Along, Directions, Fixing, ThreatModel, Units, Weights
from graphprune.threats.numbers import Numbers
from graphprune.threats.registry import known_threats, register_threat
from graphprune.threats.threat import Threat, ThreatLike, asked, threat_of

__all__ = [
    "Along",
    "Directions",
    "Fixing",
    "Numbers",
    "Threat",
    "ThreatLike",
    "ThreatModel",
    "Units",
    "Weights",
    "asked",
    "known_threats",
    "register_threat",
    "threat_of",
]
