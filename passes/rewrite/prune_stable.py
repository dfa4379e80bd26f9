"""Remove neurons that cannot change their state in the ball."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from graphprune.attacks.attack import Attack
from graphprune.ir.network import activation_of
from graphprune.passes.analysis.bounds import BallBounds
from graphprune.passes.base import Facts, Promise, State, record, register_pass
from graphprune.transforms.replace import Replacement, apply


@register_pass
@dataclass(frozen=True)
class PruneStable:
    """Replace ReLUs with upper <= 0 by 0 and with lower >= 0 by their input.

    The network stays the same function on the ball or box of the bounds (the last `bounds` pass,
    or CROWN at d_adv). After another one for a smaller ball or another box, the result is the
    first network where these meet.
    """

    name: ClassVar[str] = "prune-stable"
    promise: ClassVar[Promise] = "ball"
    needs: ClassVar[Facts] = frozenset({BallBounds})
    # An adversarial point stays one where it lies in the ball.
    keeps: ClassVar[Facts] = frozenset({Attack})

    def run(self, state: State) -> State:
        bounds, state = state.need(BallBounds)
        network = state.network
        replacements = {}
        # Counted is what something reads, as by `live_neurons`.
        kinds = {"inactive": 0, "active": 0}
        removed = [0] * len(bounds.layers)
        for index, layer in enumerate(bounds.layers):
            if not activation_of(network.activations[index]).piecewise_linear:
                continue  # a smooth activation is never its input or 0
            active = layer.lower[0] >= 0
            inactive = layer.upper[0] <= 0
            neurons = len(active)
            alive = network.live(network.activations[index])
            kinds["inactive"] += int((inactive & alive).sum())
            kinds["active"] += int((active & ~inactive & alive).sum())
            removed[index] = int(((active | inactive) & alive).sum())
            replacements[index] = Replacement.nothing(neurons).with_lines(
                active | inactive, np.where(inactive, 0.0, 1.0), np.zeros(neurons)
            )
        result = apply(network, replacements)
        record(result, state, self.name, kinds, bounds.region, removed=removed)
        found = state.facts.get(Attack)
        gone = found is not None and not (found.witness and bounds.region.contains(found.witness.x))
        return state.rewritten(result, *([Attack] if gone else []), region=bounds.region)
