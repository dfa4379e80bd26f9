"""Algorithm 1: iterative constant replacement driven by pre-activation bounds."""

from dataclasses import dataclass
from typing import ClassVar

from graphprune.attacks.attack import Attack
from graphprune.bounds import Method
from graphprune.passes.base import Facts, Promise, State, register_pass
from graphprune.passes.substitution import Substitution


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
        self._substitution().check(self.name)

    def _substitution(self) -> Substitution:
        return Substitution("constant", "range", self.gamma, self.step, self.bounds, self.radius)

    def run(self, state: State) -> State:
        return self._substitution().run(state, self.name)
