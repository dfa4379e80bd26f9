"""Local substitutes: neurons that become lines around one anchor, and the skip-free form.

In comes a :class:`LocalContext` (a network, its anchor, a ball, points to keep); out come the
:class:`~graphprune.transforms.replace.Replacement` of its layers. Which line a neuron becomes, and
which neurons go first, are functions of a registry each.

Read first: `schedule.py` (rounds of replacing and bounding again), `replacements.py` (the lines),
`scores.py` (the order).
"""

from graphprune.substitutes.context import KeptPoints, LocalContext
from graphprune.substitutes.replacements import NeuronLines, register_replacement, replacements
from graphprune.substitutes.schedule import replace_least
from graphprune.substitutes.scores import register_score, scores

__all__ = [
    "KeptPoints",
    "LocalContext",
    "NeuronLines",
    "register_replacement",
    "register_score",
    "replace_least",
    "replacements",
    "scores",
]
