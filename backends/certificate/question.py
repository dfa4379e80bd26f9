"""The claim that a proof is asked for."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from graphprune.check.asked import Asked
from graphprune.check.container import Prefix, Proof
from graphprune.check.steps import Model


@dataclass(frozen=True, eq=False)
class BallQuery:
    """Is no point within `radius` of `anchor` adversarial? The claim that a proof is asked for.

    Attributes
    ----------
    anchor
        In the shape of one sample.
    low, high
        Domain of every input element.
    fixed, norm, front, counting, top_k, index
        Those of a `Proof`.
    """

    model: Model
    anchor: NDArray[np.floating]
    label: int
    radius: float
    low: float
    high: float
    fixed: NDArray[np.int8] | None = None
    norm: str | None = None
    front: Prefix | None = None
    counting: NDArray[np.int32] | None = None
    top_k: int | None = None
    index: int = 0

    @cached_property
    def proof(self) -> Proof:
        """A proof of nothing yet, which says what it is about."""
        return Proof(
            self.index, self.label, self.anchor, 0.0, None, -1, None, (), (), self.fixed, self.norm,
            self.front, self.counting, self.top_k,
        )  # fmt: skip

    @cached_property
    def asked(self) -> Asked:
        """The question as the checker reads it."""
        return Asked.of(self.model, self.proof, self.low, self.high)
