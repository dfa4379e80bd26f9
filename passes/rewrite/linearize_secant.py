"""Algorithm 2: whole activation layers by the secant through x0 and x_adv."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from graphprune.errors import PipelineError
from graphprune.ir import Ball
from graphprune.ir.export import with_own_source
from graphprune.ir.network import activation_of
from graphprune.passbase import Facts, Promise, State, record, register_pass
from graphprune.passes.analysis.activations import Recorded
from graphprune.passes.analysis.attack import Attack
from graphprune.transforms.replace import Replacement, apply

Floats = NDArray[np.float64]


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
    needs: ClassVar[Facts] = frozenset({Attack, Recorded})
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
        recorded, state = state.need(Recorded)
        if recorded.at_adversarial is None or found.witness is None:
            raise PipelineError(
                f"pass '{self.name}': the attack found no adversarial point to preserve"
            )
        chosen = self._chosen(len(network.activations))
        replacements = {}
        for index in chosen:
            z0, z1 = recorded.at_anchor[index], recorded.at_adversarial[index]
            values = activation_of(network.activations[index]).value(np.stack([z0, z1]))
            slope, offset = secant(z0, z1, values[0], values[1])
            every = np.ones(len(z0), dtype=bool)
            replacements[index] = Replacement.nothing(len(z0)).with_lines(every, slope, offset)
        result = apply(network, replacements)
        counts = sum(int(r.removed.sum()) for r in replacements.values())
        anchor = state.the_anchor(self.name)
        ball = Ball(anchor.x.astype(np.float64), found.witness.distance, state.domain)
        layers = [index + 1 for index in chosen]
        record(result, state, self.name, {"secant": counts}, ball, layers=layers)
        return state.rewritten(with_own_source(result))

    def _chosen(self, count: int) -> list[int]:
        if self.only:
            if max(self.only) > count:
                raise PipelineError(
                    f"pass '{self.name}': layer {max(self.only)} asked for, the network has {count}"
                )
            return sorted(layer - 1 for layer in set(self.only))
        order = [*range(1, count), 0][:count]
        return sorted(order[: self.layers])


def secant(z0: Floats, z1: Floats, s0: Floats, s1: Floats) -> tuple[Floats, Floats]:
    """(c, d) of the lines through (z0, s0) and (z1, s1); c lies between 0 and 1.

    The slope of a monotone activation with derivative at most 1 lies there; near-equal
    pre-activations would let rounding throw it far out.
    """
    gap = z1 - z0
    same = gap == 0
    slope = np.where(same, 0.0, (s1 - s0) / np.where(same, 1.0, gap))
    slope = np.clip(slope, 0.0, 1.0)
    return slope, s0 - slope * z0
