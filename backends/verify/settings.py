"""Tuning constants of neuron splitting, each with its reason; none of them changes what is true."""

from dataclasses import dataclass, field

import numpy as np

from graphprune.backends.relaxation.tighten import ConstrainedSettings
from graphprune.backends.search.settings import EffortLevel, TreeSettings


@dataclass(frozen=True)
class NeuronSettings:
    """Constants of neuron splitting.

    Attributes
    ----------
    levels
        Tried one after the other, each on a tree that begins anew: the planes make it smaller by
        more than what was grown. `constrained` are the bounds of the last layers.
    tree
        Constants of the trees. The region stays as it is, so nodes are taken by their bounds, and
        none is bounded anew.
    most_entries
        Cuts only where the rows have so few entries: the linear programs stay small enough.
    cut_share
        Share of the time left that all cuts of one level may take.
    tightened, rounds
        So many neurons get output-constrained bounds, layer by layer from the last one down (the
        last one whole), in at most so many rounds.
    most_tightened
        Where a last layer has more neurons, none gets such bounds: the tree is done sooner.
    constrained
        Constants of these bounds: of the layers chosen, all neurons are bounded.
    first_attack, attack_growth
        Nodes until an attack starts from their minimisers, and the growth between two attacks.
    starts
        The best minimisers since the last attack from which it starts.
    """

    levels: tuple[EffortLevel, ...] = (
        EffortLevel(16),
        EffortLevel(100, constrained=True),
        EffortLevel(1000, cuts=40),
        EffortLevel(np.inf, cuts=80),
    )
    tree: TreeSettings = field(
        default_factory=lambda: TreeSettings(refresh_share=0.0, lp_first=True, by_bound=True)
    )
    most_entries: int = 2_000_000
    cut_share: float = 0.3
    tightened: int = 200
    rounds: int = 4
    most_tightened: int = 1000
    constrained: ConstrainedSettings = field(
        default_factory=lambda: ConstrainedSettings(neurons=1 << 30)
    )
    first_attack: int = 32
    attack_growth: float = 1.5
    starts: int = 16


DEFAULT = NeuronSettings()
