"""Remove neurons that cannot change their state in the ball."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from graphprune.attacks.attack import Attack
from graphprune.ir import Network
from graphprune.ir.network import activation_of
from graphprune.passes.analysis.bounds import BallBounds
from graphprune.passes.base import Facts, Promise, State, record, register_pass
from graphprune.transforms.merge_neurons import merge_neurons
from graphprune.transforms.replace import Replacement, apply
from graphprune.transforms.whole_units import whole_units

Floats = NDArray[np.float64]


@register_pass
@dataclass(frozen=True)
class PruneStable:
    """Replace ReLUs with upper <= 0 by 0 and with lower >= 0 by their input.

    The network stays the same function on the ball or box of the bounds (the last `bounds` pass,
    or CROWN at d_adv). After another one for a smaller ball or another box, the result is the
    first network where these meet. Where a pipeline writes for runtimes, whole units and layers
    alone are replaced: a ReLU beside lines takes longer than a ReLU.
    """

    name: ClassVar[str] = "prune-stable"
    promise: ClassVar[Promise] = "ball"
    needs: ClassVar[Facts] = frozenset({BallBounds})
    # An adversarial point stays one where it lies in the ball.
    keeps: ClassVar[Facts] = frozenset({Attack})

    def run(self, state: State) -> State:
        bounds, state = state.need(BallBounds)
        network = state.network
        lines = {
            index: _lines(layer.lower[0], layer.upper[0])
            for index, layer in enumerate(bounds.layers)
            # A smooth activation is never its input or 0.
            if activation_of(network.activations[index]).piecewise_linear
        }
        replaced = whole_units(network, lines) if state.whole_units else lines
        result = apply(network, replaced)
        if state.whole_units and replaced:
            result = merge_neurons(result, block=state.block)[0]
        kinds, removed = _counts(network, replaced)
        record(result, state, self.name, kinds, bounds.region, removed=removed)
        stable, _ = _counts(network, lines)
        said = f"{stable['inactive']} off, {stable['active']} on"
        if state.whole_units:
            said += f"; {sum(removed)} removed, as whole units and layers"
        found = state.facts.get(Attack)
        gone = found is not None and not (found.witness and bounds.region.contains(found.witness.x))
        state = state.rewritten(result, *([Attack] if gone else []), region=bounds.region)
        return state.noting(said)


def _lines(lower: Floats, upper: Floats) -> Replacement:
    """0 for neurons that stay off between these bounds (neurons,), z for those that stay on."""
    inactive = upper <= 0
    slope = np.where(inactive, 0.0, 1.0)
    return Replacement.nothing(len(lower)).with_lines(
        inactive | (lower >= 0), slope, np.zeros(len(lower))
    )


def _counts(
    network: Network, replaced: Mapping[int, Replacement]
) -> tuple[dict[str, int], list[int]]:
    """Neurons by kind, and by layer; counted is what something reads, as by `live_neurons`."""
    kinds = {"inactive": 0, "active": 0}
    removed = [0] * len(network.activations)
    for index, new in replaced.items():
        gone = new.removed & network.live(network.activations[index])
        removed[index] = int(gone.sum())
        kinds["active"] += int((gone & (new.slope != 0)).sum())
        kinds["inactive"] += int((gone & (new.slope == 0)).sum())
    return kinds, removed
