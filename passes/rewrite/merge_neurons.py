"""Remove neurons that say the same: constant ones go into biases, equal ones become one."""

from dataclasses import dataclass
from typing import ClassVar

from graphprune.attacks.attack import Attack
from graphprune.bounds.certify import Certificate
from graphprune.passes.base import Facts, Promise, State, record, register_pass
from graphprune.transforms.merge_neurons import merge_neurons


@register_pass
@dataclass(frozen=True)
class MergeNeurons:
    """Remove units (neurons, or channels of convolutions) that are dead, constant or repeated.

    A ReLU unit with zero weights is the constant relu(b), which the next layer's bias takes over.
    Units whose weights and biases are positive multiples, (w', b') = c (w, b) with c > 0, satisfy
    relu(w'x + b') = c relu(w x + b): the next layer adds c times the column to the first one's.
    Only between plain layers (Conv without groups or Gemm, ReLU, then Conv without groups or
    Gemm); a constant channel stays where a padded convolution reads it.
    """

    name: ClassVar[str] = "merge-neurons"
    promise: ClassVar[Promise] = "everywhere"
    needs: ClassVar[Facts] = frozenset()
    keeps: ClassVar[Facts] = frozenset({Attack, Certificate})

    def run(self, state: State) -> State:
        result, counts = merge_neurons(state.network, block=state.block)
        if any(counts.values()):
            record(result, state, self.name, counts, None)
        return state.rewritten(result)
