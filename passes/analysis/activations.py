"""The pass that records pre-activations at the anchor and the adversarial point."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from graphprune.attacks.attack import Attack
from graphprune.ir import annotate
from graphprune.ir.network import pre_activation, sample_shape
from graphprune.passes.base import Facts, Promise, State, provides, register_pass
from graphprune.runtime.reference import pre_activations

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RecordedActivations:
    """Annotation on a pre-activation value.

    Attributes
    ----------
    at_anchor
        Sample shape, at x0.
    at_adversarial
        Sample shape, at x_adv; None where no adversarial is known.
    """

    at_anchor: Floats
    at_adversarial: Floats | None


@dataclass(frozen=True, eq=False)
class Recorded:
    """Pre-activations (neurons,) of every layer at x0, and at x_adv or None."""

    at_anchor: list[Floats]
    at_adversarial: list[Floats] | None


@provides(Recorded)
@register_pass
@dataclass(frozen=True)
class ActivationsPass:
    """Record the pre-activations at x0, and at x_adv where the attack found one.

    Annotates every pre-activation with `RecordedActivations`.
    """

    name: ClassVar[str] = "activations"
    promise: ClassVar[Promise] = "everywhere"
    needs: ClassVar[Facts] = frozenset({Attack})

    def run(self, state: State) -> State:
        found, state = state.need(Attack)
        anchor = state.the_anchor(self.name)
        points = [anchor.x, *([found.witness.x] if found.witness else [])]
        layers = pre_activations(state.network, *points)
        for activation, z in zip(state.network.activations, layers, strict=True):
            value = pre_activation(activation)
            shaped = z.reshape(len(points), *sample_shape(value))
            annotate(value, RecordedActivations(shaped[0], shaped[1] if found.witness else None))
        return state.with_fact(
            Recorded([z[0] for z in layers], [z[1] for z in layers] if found.witness else None)
        )
