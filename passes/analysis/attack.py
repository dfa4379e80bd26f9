"""The pass around :func:`graphprune.attacks.attack.closest_adversarial`."""

from dataclasses import dataclass
from typing import ClassVar

from graphprune.attacks.attack import Attack, AttackMethod, Effort, closest_adversarial
from graphprune.ir import Query
from graphprune.passes.base import Facts, Promise, State, provides, register_pass
from graphprune.region import LINF, NormName, norm_of


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
    norm: NormName = LINF
    seed: int = 0

    def run(self, state: State) -> State:
        anchor = state.the_anchor(self.name)
        query = Query(state.network, anchor, state.domain, norm_of(self.norm), self.seed)
        found = closest_adversarial(query, state.resources, self.method, self.effort)
        return state.with_fact(found)
