"""The pass around :func:`graphprune.bounds.certify.certified_radius`."""

from dataclasses import dataclass
from typing import ClassVar

from graphprune.attacks.attack import Attack
from graphprune.bounds import Method
from graphprune.bounds.certify import Certificate, certified_radius
from graphprune.ir import Query
from graphprune.passes.base import Facts, Promise, State, provides, register_pass
from graphprune.region import LINF, NormName, norm_of


@provides(Certificate)
@register_pass
@dataclass(frozen=True)
class CertifyPass:
    """Find the largest certified radius."""

    name: ClassVar[str] = "certify"
    promise: ClassVar[Promise] = "everywhere"
    needs: ClassVar[Facts] = frozenset()

    method: Method = "crown"
    norm: NormName = LINF

    def run(self, state: State) -> State:
        known = state.facts.get(Attack)
        query = Query(state.network, state.the_anchor(self.name), state.domain, norm_of(self.norm))
        upper = None if known is None else known.distance
        proof = certified_radius(query, state.resources, self.method, upper)
        return state.with_fact(proof)
