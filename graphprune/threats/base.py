"""The kinds of threat models: other units, weights per element, directions."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from graphprune.ir import Network
from graphprune.region import Anchor, Domain

Floats = NDArray[np.float64]
Shape = tuple[int, ...]


class ThreatModel(ABC):
    """A frozen dataclass whose fields are its options; the kinds below say what it changes.

    Attributes
    ----------
    name
        The name by which texts ask for it.
    """

    name: ClassVar[str]
    # The kind of model in a few words, for lists.
    kind: ClassVar[str]

    def check(self, shape: Shape, domain: Domain) -> None:  # noqa: B027
        """Refuse samples that it does not fit, before there is an anchor.

        Raises
        ------
        GraphpruneError
            It names the option, what was given and what is needed.
        """

    def check_anchor(self, anchor: Anchor) -> None:  # noqa: B027
        """Refuse an anchor in other units than the model's.

        Raises
        ------
        AnchorError
            It names the anchor.
        """


class Units(ThreatModel):
    """A map from the units that people give and read to those of the file."""

    kind = "other units: anchors, domain, distances and points are in front of it"

    @abstractmethod
    def before(self, network: Network) -> Network:
        """The network of inputs in the new units."""


class Weights(ThreatModel):
    """Every element moves on its own: x = x0 + w z."""

    kind = "weights per element: x = x0 + w z"

    @abstractmethod
    def weights(self, shape: Shape) -> Floats:
        """w >= 0, of a sample's shape: how far an element moves per unit of distance; 0: not."""

    def check(self, shape: Shape, domain: Domain) -> None:
        self.weights(shape)


class Fixing(Weights):
    """Some elements are fixed, the others move as they are: weights of 0 and 1."""

    kind = "some elements may change, the others are fixed"


@dataclass(frozen=True, eq=False)
class Along:
    """Directions around an anchor, and how far each may be gone.

    Attributes
    ----------
    steps
        (k, *sample).
    lower, upper
        (k,) least (<= 0) and greatest (>= 0) multiples; infinite where only the domain ends them.
    """

    steps: Floats
    lower: Floats
    upper: Floats

    @classmethod
    def one(cls, step: Floats, lower: float, upper: float) -> "Along":
        """A single direction."""
        return cls(step[None], np.array([lower]), np.array([upper]))


class Directions(ThreatModel):
    """Elements move together: x = x0 + z_1 b_1 + ... + z_k b_k, clipped to the domain."""

    kind = "directions: x = x0 + B z, clipped to the domain"

    @abstractmethod
    def along(self, x: Floats, domain: Domain) -> Along:
        """The directions at an anchor (sample shape, float64)."""
