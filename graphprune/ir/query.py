"""The question that attacks, certificates and searches answer: how far is the boundary?"""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from graphprune.errors import GraphpruneError
from graphprune.ir.network import Network
from graphprune.region import LINF, Anchor, Ball, Domain, Norm, norm_of


@dataclass(frozen=True, eq=False)
class Query:
    """The distance of an anchor to a network's decision boundary, within a domain.

    Attributes
    ----------
    network
        With two classes or more.
    anchor
        In the network's sample shape, inside the domain, correctly classified.
    domain
        Box that perturbed points stay in.
    norm
        Norm of the distance; its name is enough.
    seed
        Seed of everything that is drawn at random.
    target
        The only class that counts as adversarial; None: every class but the label.

    Raises
    ------
    GraphpruneError
        The network has one output, the norm is unknown, or the target is no other class.
    AnchorError
        The anchor does not fit the network, or lies outside the domain.
    """

    network: Network
    anchor: Anchor
    domain: Domain = field(default_factory=Domain)
    norm: Norm = LINF
    seed: int = 0
    target: int | None = None

    def __post_init__(self) -> None:
        if self.network.classes < 2:
            raise GraphpruneError(
                "the network has one output: no decision boundary is defined without a threshold;"
                " gp.as_classifier(network, threshold) has two classes"
            )
        object.__setattr__(self, "norm", norm_of(self.norm))
        self.anchor.require(self.network.input_shape, self.network.classes, self.domain)
        if self.target is not None:
            require_target(self.target, self.network.classes)
            if self.target == self.anchor.label:
                raise GraphpruneError(own_target(self.target))

    @cached_property
    def targets(self) -> NDArray[np.intp]:
        """The classes that count as adversarial, increasing."""
        if self.target is not None:
            return np.array([self.target], np.intp)
        return np.delete(np.arange(self.network.classes), self.anchor.label)

    def ball(self, radius: float) -> Ball:
        """The points of the domain within `radius` of the anchor."""
        return self.anchor.ball(radius, self.domain, self.norm)

    def about(self, network: Network) -> "Query":
        """The same question about another network, such as a substitute."""
        return replace(self, network=network)


def require_target(target: int, classes: int) -> None:
    """Refuse a target that is no class.

    Raises
    ------
    GraphpruneError
        It names the classes that there are.
    """
    if isinstance(target, bool) or not isinstance(target, int | np.integer):
        raise GraphpruneError(f"the target is no integer, but {target!r}")
    if not 0 <= target < classes:
        raise GraphpruneError(
            f"target {target} is out of range: the network has classes 0 to {classes - 1}"
        )


def own_target(target: int) -> str:
    """Say that a target is the anchor's own label."""
    return f"target {target} is the anchor's own label: its boundary is with another class"
