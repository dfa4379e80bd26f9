"""Remove neurons that cannot change their state in the ball."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from graphprune.passbase import Promise, State, record, register_pass
from graphprune.passes.analysis.activations import Recorded
from graphprune.passes.analysis.attack import Attack
from graphprune.passes.analysis.bounds_pass import BallBounds
from graphprune.transforms.replace import Replacement, apply


@register_pass
@dataclass(frozen=True)
class PruneStable:
    """Replace ReLUs with upper <= 0 by 0 and with lower >= 0 by their input.

    The network stays the same function on the ball of the bounds (the last `bounds` pass, or
    CROWN at d_adv).
    """

    name: ClassVar[str] = "prune-stable"
    promise: ClassVar[Promise] = "ball"

    def run(self, state: State) -> State:
        bounds, state = state.need(BallBounds)
        network = state.network
        replacements = {}
        for index, layer in enumerate(bounds.layers):
            active = layer.lower[0] >= 0
            inactive = layer.upper[0] <= 0
            neurons = len(active)
            replacements[index] = Replacement.nothing(neurons).with_lines(
                active | inactive, np.where(inactive, 0.0, 1.0), np.zeros(neurons)
            )
        result = apply(network, replacements)
        counts = [int(r.removed.sum()) for r in replacements.values()]
        record(result, state, {"pass": self.name, "removed": counts}, bounds.radius)
        return state.rewritten(result, frozenset({Attack, Recorded}))
