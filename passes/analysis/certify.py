"""The pass around :func:`graphprune.bounds.certify.certify`."""

from dataclasses import dataclass
from typing import ClassVar

from graphprune.attacks.attack import Attack
from graphprune.bounds.certify import Certificate, certify
from graphprune.bounds.problem import Method
from graphprune.passes.base import Facts, Promise, State, provides, register_pass
from graphprune.region import Norm


@provides(Certificate)
@register_pass
@dataclass(frozen=True)
class CertifyPass:
    """Find the largest certified radius."""

    name: ClassVar[str] = "certify"
    promise: ClassVar[Promise] = "everywhere"
    needs: ClassVar[Facts] = frozenset()

    method: Method = "crown"
    norm: Norm = "linf"

    def run(self, state: State) -> State:
        known = state.facts.get(Attack)
        proof = certify(
            state.network,
            state.the_anchor(self.name),
            domain=state.domain,
            method=self.method,
            norm=self.norm,
            upper=None if known is None else known.distance,
            progress=state.progress,
        )
        return state.with_fact(proof)
