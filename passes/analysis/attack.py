"""The pass around :func:`graphprune.attacks.attack.attack`."""

from dataclasses import dataclass
from typing import ClassVar

from graphprune.attacks.attack import Attack, AttackMethod, Effort, attack
from graphprune.passes.base import Facts, Promise, State, provides, register_pass
from graphprune.region import Norm


@provides(Attack)
@register_pass
@dataclass(frozen=True)
class AttackPass:
    """Find the closest adversarial point: minimum-norm descent and polish, or PGD alone."""

    name: ClassVar[str] = "attack"
    promise: ClassVar[Promise] = "everywhere"
    needs: ClassVar[Facts] = frozenset()

    method: AttackMethod = "descent"
    effort: Effort = "standard"
    norm: Norm = "linf"
    seed: int = 0

    def run(self, state: State) -> State:
        found = attack(
            state.network,
            state.the_anchor(self.name),
            domain=state.domain,
            method=self.method,
            effort=self.effort,
            norm=self.norm,
            seed=self.seed,
            progress=state.progress,
        )
        return state.with_fact(found)
