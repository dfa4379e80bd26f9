"""The frame of the passes that replace neurons around an anchor by lines."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from graphprune.attacks.attack import Attack
from graphprune.bounds import Method
from graphprune.errors import PipelineError, check_known
from graphprune.passes.analysis.bounds import ball_of
from graphprune.passes.base import State, record
from graphprune.substitutes import KeptPoints, LocalContext, replace_least, replacements, scores
from graphprune.transforms.replace import apply


@dataclass(frozen=True)
class Substitution:
    """A choice of neurons and of what they become.

    Attributes
    ----------
    replacement, score
        Names of the lines, and of the order.
    gamma
        Share of the layers' neurons that goes in all.
    step
        Share of those left that goes between two computations of the bounds.
    method, radius
        Method and radius of the bounds; the radius is d_adv unless given.
    only
        Layers, from 1; all but the first unless given.
    """

    replacement: str
    score: str
    gamma: float
    step: float
    method: Method
    radius: float | None
    only: tuple[int, ...] = ()

    def check(self, name: str) -> None:
        """Refuse shares that are none; both may be 1, which is every neuron at once."""
        everything = self.gamma == self.step == 1
        if not everything and not (0 < self.gamma < 1 and 0 < self.step < 1):
            raise PipelineError(
                f"pass '{name}': gamma and step must lie between 0 and 1, or both be 1"
            )

    def run(self, state: State, name: str) -> State:
        """The state after pass `name` has replaced the least neurons."""
        check_known("replacement", self.replacement, replacements())
        check_known("score", self.score, scores())
        line = replacements()[self.replacement]
        if line.needs_adversarial:
            found, state = state.need(Attack)
            if found.witness is None:
                raise PipelineError(
                    f"pass '{name}': the attack found no adversarial point to preserve"
                )
        context, state = self._context(state, name)
        network = context.network
        count = len(network.source_activations)
        only = self.only
        if only and not 1 <= min(only) <= max(only) <= count:
            raise PipelineError(f"pass '{name}': layers are counted from 1 to {count}")
        named = sorted(set(only)) or range(2, count + 1)
        replaced = replace_least(
            context, network.source_layers(named), line.make, scores()[self.score],
            gamma=self.gamma, step=self.step, resources=state.resources,
        )  # fmt: skip
        result = apply(network, replaced)
        removed = {i: int(new.removed.sum()) for i, new in replaced.items()}
        counts = [removed.get(i, 0) for i in network.source_layers(range(1, count + 1))]
        record(
            result, state, name, {self.replacement: sum(counts)}, context.ball,
            rank=self.score, gamma=self.gamma, removed=counts,
        )  # fmt: skip
        state = state.rewritten(result, *(() if line.keeps_adversarial else (Attack,)))
        return state.noting(f"{sum(counts)} of {network.live_neurons} neurons: {self.replacement}")

    def _context(self, state: State, name: str) -> tuple[LocalContext, State]:
        """The ball of the radius, or of d_adv, and the points known in it."""
        ball, state = ball_of(state, name, self.radius)
        found = state.facts.get(Attack)
        kept = state.facts.get(KeptPoints)
        keep: tuple[NDArray[np.floating], ...] = ()
        if kept is not None:
            keep = kept.points
        elif found is not None and found.witness is not None:
            keep = (found.witness.x,)
        anchor = state.the_anchor(name)
        return LocalContext(state.network, anchor, ball, keep, self.method), state
