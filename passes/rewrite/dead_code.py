"""Leave out what cannot influence the logits."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from graphprune.attacks.attack import Attack
from graphprune.bounds.certify import Certificate
from graphprune.ir.network import Network, size
from graphprune.operators.simplify import simplify
from graphprune.passes.base import Facts, Promise, State, register_pass
from graphprune.transforms.replace import Replacement, apply


@register_pass
@dataclass(frozen=True)
class DeadCode:
    """Replace activation layers none of whose neurons is used by the constant 0.

    The matrices around such a layer then become one; convolutions do only where that makes the
    graph no larger, and otherwise stay.
    """

    name: ClassVar[str] = "dead-code"
    promise: ClassVar[Promise] = "everywhere"
    needs: ClassVar[Facts] = frozenset()
    keeps: ClassVar[Facts] = frozenset({Attack, Certificate})

    def run(self, state: State) -> State:
        return state.rewritten(simplify(without_dead_layers(state.network)))


def without_dead_layers(network: Network) -> Network:
    """Activation layers without a living neuron become the constant 0."""
    dead = {
        i: Replacement.nothing(size(a.outputs[0])).with_lines(
            np.ones(size(a.outputs[0]), dtype=bool), np.zeros(1), np.zeros(1)
        )
        for i, a in enumerate(network.activations)
        if not network.alive(a).any()
    }
    return apply(network, dead)
