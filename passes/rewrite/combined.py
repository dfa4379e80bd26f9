"""Algorithm 1's choice of neurons with Algorithm 2's lines."""

from dataclasses import dataclass
from typing import ClassVar

from graphprune.attacks.attack import Attack
from graphprune.bounds import Method
from graphprune.passes.base import Facts, Promise, State, register_pass
from graphprune.passes.substitution import Substitution


@register_pass
@dataclass(frozen=True)
class Combined:
    """Replace the least variable neurons by secants that keep every known adversarial point.

    Algorithm 1's choice (the smallest ranges on the ball, a share `step` per round, layers 2 and
    above) with Algorithm 2's lines: the future work of "Robustness Evaluation Using Local
    Substitute Networks". Keeps g(x0) = f(x0) and g(x_adv) = f(x_adv), so d_bnd(g) <= d_adv.
    """

    name: ClassVar[str] = "combined"
    promise: ClassVar[Promise] = "anchor and adversarial"
    needs: ClassVar[Facts] = frozenset({Attack})
    keeps: ClassVar[Facts] = frozenset({Attack})

    gamma: float = 0.75
    step: float = 0.25
    bounds: Method = "fastlin-ibp"
    radius: float | None = None

    def __post_init__(self) -> None:
        self._substitution().check(self.name)

    def _substitution(self) -> Substitution:
        return Substitution("secant", "range", self.gamma, self.step, self.bounds, self.radius)

    def run(self, state: State) -> State:
        return self._substitution().run(state, self.name)
