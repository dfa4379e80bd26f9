"""Algorithm 1: iterative constant replacement driven by pre-activation bounds."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from graphprune.errors import PipelineError
from graphprune.ir import Ball
from graphprune.ir.export import with_own_source
from graphprune.ir.network import Network, activation_of
from graphprune.passbase import Facts, Promise, State, record, register_pass
from graphprune.passes.analysis.activations import record as record_activations
from graphprune.passes.analysis.attack import Attack
from graphprune.passes.analysis.bounds import Boxes, Method, pre_activation_bounds
from graphprune.passes.analysis.bounds_pass import ball_radius
from graphprune.transforms.replace import Replacement, apply


@register_pass
@dataclass(frozen=True)
class PruneConstant:
    """Replace the least variable neurons by their value at x0, a share `step` per round.

    In every round the neurons still there (layers 2 and above) whose range upper - lower is at or
    below its `step`-quantile become the constant sigma(f_i(x0)), and the bounds are computed
    again; rounds end when (1 - step)^k <= 1 - gamma. Keeps g(x0) = f(x0). Source: Algorithm 1 of
    "Robustness Evaluation Using Local Substitute Networks".
    """

    name: ClassVar[str] = "prune-constant"
    promise: ClassVar[Promise] = "anchor"
    needs: ClassVar[Facts] = frozenset({Attack})
    keeps: ClassVar[Facts] = frozenset()

    gamma: float = 0.75
    step: float = 0.05
    bounds: Method = "fastlin-ibp"
    radius: float | None = None

    def __post_init__(self) -> None:
        if not 0 < self.gamma < 1 or not 0 < self.step < 1:
            raise PipelineError(f"pass '{self.name}': gamma and step must lie between 0 and 1")

    def run(self, state: State) -> State:
        anchor = state.the_anchor(self.name)
        radius, state = ball_radius(state, self.name, self.radius)
        network = state.network
        ball = Ball(anchor.x.astype(np.float64), radius, state.domain)
        boxes = Boxes.of(ball)
        replacements = self._rounds(network, boxes, anchor.x, state)
        result = apply(network, replacements)
        counts = [0, *(int(r.removed.sum()) for r in replacements.values())]
        replaced = {"constant": sum(counts)}
        record(result, state, self.name, replaced, ball, gamma=self.gamma, removed=counts)
        return state.rewritten(with_own_source(result))

    def _rounds(
        self, network: Network, boxes: Boxes, x: NDArray[np.floating], state: State
    ) -> dict[int, Replacement]:
        recorded = record_activations(network, x)
        constants = [
            activation_of(a).value(z[0]) for a, z in zip(network.activations, recorded, strict=True)
        ]
        replacements = {i: Replacement.nothing(len(constants[i])) for i in range(1, len(constants))}
        alive = {i: network.alive(network.activations[i]) for i in replacements}
        rounds, k = rounds_of(self.gamma, self.step), 0
        while k < rounds and replacements:
            layers = pre_activation_bounds(
                network, boxes, self.bounds, replaced=replacements, every=True
            )
            ranges = {i: layers[i].upper[0] - layers[i].lower[0] for i in replacements}
            there = {i: alive[i] & ~replacements[i].removed for i in replacements}
            pool = np.concatenate([ranges[i][there[i]] for i in replacements])
            if not pool.size:
                break
            threshold = np.quantile(pool, self.step)
            for i, old in replacements.items():
                least = there[i] & (ranges[i] <= threshold)
                replacements[i] = old.with_lines(least, np.zeros(len(least)), constants[i])
            k += 1
            state.progress(f"prune-constant round {k}/{rounds}")
        return replacements


def rounds_of(gamma: float, step: float) -> int:
    """The smallest k >= 1 with (1 - step)^k <= 1 - gamma."""
    k = 1
    while (1 - step) ** k > 1 - gamma:
        k += 1
    return k
