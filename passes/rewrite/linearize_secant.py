"""Algorithm 2: whole activation layers by the secant through x0 and x_adv."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from graphprune.attacks.attack import Attack
from graphprune.errors import PipelineError
from graphprune.ir.network import activation_of
from graphprune.passes.base import Facts, Promise, State, record, register_pass
from graphprune.runtime.reference import pre_activations
from graphprune.substitutes.replacements import secant
from graphprune.transforms.replace import Replacement, apply


@register_pass
@dataclass(frozen=True)
class LinearizeSecant:
    """Replace whole activation layers by lines that agree at x0 and at x_adv.

    Neuron i becomes c z + d with c z0 + d = sigma(z0) and c z1 + d = sigma(z1) for its
    pre-activations z0 at x0 and z1 at x_adv; equal ones give the constant sigma(z0). `layers=K`
    takes the first K of the order 2, 3, ..., last, 1; `only=2+4` names layers (from 1). Keeps
    g(x0) = f(x0) and g(x_adv) = f(x_adv), so d_bnd(g) <= d_adv. Source: Algorithm 2 of
    "Robustness Evaluation Using Local Substitute Networks".
    """

    name: ClassVar[str] = "linearize-secant"
    promise: ClassVar[Promise] = "anchor and adversarial"
    needs: ClassVar[Facts] = frozenset({Attack})
    # The attack's point still is adversarial for the result, at the same distance.
    keeps: ClassVar[Facts] = frozenset({Attack})

    layers: int = 1
    only: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.layers < 0 or any(layer < 1 for layer in self.only):
            raise PipelineError(f"pass '{self.name}': layers are counted from 1")

    def run(self, state: State) -> State:
        network = state.network
        found, state = state.need(Attack)
        if found.witness is None:
            raise PipelineError(
                f"pass '{self.name}': the attack found no adversarial point to preserve"
            )
        layers = self._chosen(len(network.source_activations))
        z = pre_activations(network, state.the_anchor(self.name).x, found.witness.x)
        replacements = {}
        for index in network.source_layers(layers):
            sigma = activation_of(network.activations[index])
            z0, z1 = z[index]
            slope, offset = secant(z0, z1, sigma)
            every = np.ones(len(slope), dtype=bool)
            replacements[index] = Replacement.nothing(len(slope)).with_lines(every, slope, offset)
        result = apply(network, replacements)
        counts = sum(int(network.live(network.activations[i]).sum()) for i in replacements)
        anchor = state.the_anchor(self.name)
        ball = anchor.ball(found.witness.distance, state.domain, found.norm)
        record(result, state, self.name, {"secant": counts}, ball, layers=layers)
        return state.rewritten(result)

    def _chosen(self, count: int) -> list[int]:
        """Layers to replace, from 1."""
        if self.only:
            if max(self.only) > count:
                raise PipelineError(
                    f"pass '{self.name}': layer {max(self.only)} asked for, the network has {count}"
                )
            return sorted(set(self.only))
        order = [*range(2, count + 1), 1][:count]
        return sorted(order[: self.layers])
