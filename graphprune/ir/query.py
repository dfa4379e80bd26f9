"""The question that attacks, certificates and searches answer: how far is the boundary?"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from graphprune.errors import GraphpruneError
from graphprune.ir.network import Network
from graphprune.region import LINF, Anchor, Ball, Domain, Norm, norm_of

# The only class that counts as adversarial, or several; None: every class but the label.
Target = int | Sequence[int] | None


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
        The only class that counts as adversarial, or several, of which the label is left out;
        None: every class but the label.
    top_k
        Above 1 the network's last class is the `top_k`-th best of the file's other classes, and the
        target (:func:`graphprune.canonical.questions.with_rank`).
    plain
        Then the network without that class.

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
    target: Target = None
    top_k: int = 1
    plain: Network | None = None

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
            object.__setattr__(self, "target", others(self.target, int(self.anchor.label)))

    @cached_property
    def targets(self) -> NDArray[np.intp]:
        """The classes that count as adversarial, increasing."""
        if self.target is not None:
            return np.atleast_1d(np.array(self.target, np.intp))
        return np.delete(np.arange(self.network.classes), self.anchor.label)

    def ball(self, radius: float) -> Ball:
        """The points of the domain within `radius` of the anchor."""
        return self.anchor.ball(radius, self.domain, self.norm)

    def about(self, network: Network) -> "Query":
        """The same question about another network, such as a substitute."""
        return replace(self, network=network)


def classes_of(target: Target) -> tuple[int, ...]:
    """The classes of a target, increasing."""
    if target is None:
        return ()
    return tuple(sorted(set(target))) if isinstance(target, Sequence) else (target,)


def classes_text(target: Target) -> str:
    """A target in words: ``class 3``, or ``class 3, 7``."""
    return "class " + ", ".join(map(str, classes_of(target)))


def require_target(target: Target, classes: int) -> None:
    """Refuse targets that are no classes.

    Raises
    ------
    GraphpruneError
        It names the classes that there are.
    """
    several = isinstance(target, Sequence) and not isinstance(target, str)
    for one in target if isinstance(target, Sequence) and several else [target]:
        if isinstance(one, bool) or not isinstance(one, int | np.integer):
            raise GraphpruneError(f"the target is no integer, but {one!r}")
        if not 0 <= one < classes:
            raise GraphpruneError(
                f"target {one} is out of range: the network has classes 0 to {classes - 1}"
            )
    if several and not target:
        raise GraphpruneError("no target is given: name a class, or leave the target out")


def require_one_question(target: Target, top_k: int) -> None:
    """Refuse a target together with a rank.

    Raises
    ------
    GraphpruneError
        It says which to leave out.
    """
    if top_k != 1 and target is not None:
        raise GraphpruneError("top-k asks about all classes: leave it out, or the target")


def others(target: Target, label: int) -> Target:
    """The target without the label.

    Raises
    ------
    GraphpruneError
        Nothing else is left of it.
    """
    left = tuple(one for one in classes_of(target) if one != label)
    if not left:
        raise GraphpruneError(own_target(label))
    return left if isinstance(target, Sequence) else target


def own_target(target: int) -> str:
    """Say that a target is the anchor's own label."""
    return f"target {target} is the anchor's own label: its boundary is with another class"
