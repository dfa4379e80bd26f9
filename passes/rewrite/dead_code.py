"""Leave out what cannot influence the logits."""

from dataclasses import dataclass
from typing import ClassVar

from graphprune.attacks.attack import Attack
from graphprune.bounds.certify import Certificate
from graphprune.operators.simplify import simplify
from graphprune.passes.base import Facts, Promise, State, register_pass
from graphprune.transforms.replace import without_dead_layers


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
