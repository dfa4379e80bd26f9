"""The question that attacks, certificates and searches answer: how far is the boundary?"""

from dataclasses import dataclass, field, replace

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

    Raises
    ------
    GraphpruneError
        The network has one output, or the norm is unknown.
    AnchorError
        The anchor does not fit the network, or lies outside the domain.
    """

    network: Network
    anchor: Anchor
    domain: Domain = field(default_factory=Domain)
    norm: Norm = LINF
    seed: int = 0

    def __post_init__(self) -> None:
        if self.network.classes < 2:
            raise GraphpruneError(
                "the network has one output: no decision boundary is defined without a threshold;"
                " gp.as_classifier(network, threshold) has two classes"
            )
        object.__setattr__(self, "norm", norm_of(self.norm))
        self.anchor.require(self.network.input_shape, self.network.classes, self.domain)

    def ball(self, radius: float) -> Ball:
        """The points of the domain within `radius` of the anchor."""
        return self.anchor.ball(radius, self.domain, self.norm)

    def about(self, network: Network) -> "Query":
        """The same question about another network, such as a substitute."""
        return replace(self, network=network)
