"""The pass protocol: a pass is a frozen dataclass whose fields are its options."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Protocol, TypeVar

import numpy as np

from graphprune.errors import PipelineError
from graphprune.ir import Anchor, Domain, Network
from graphprune.progress import Progress, quiet

F = TypeVar("F")
P = TypeVar("P", bound=type["Pass"])

# Where a rewritten network still computes what the network before it computed.
Promise = Literal["everywhere", "ball", "anchor and adversarial", "anchor", "nothing"]


@dataclass(frozen=True, eq=False)
class State:
    """What passes read and return.

    Attributes
    ----------
    network
        The current network.
    anchor
        The point of a local pipeline; None for passes that need none.
    domain
        Domain of perturbed points.
    facts
        Results of analyses by type; an analysis also annotates the network's values.
    """

    network: Network
    anchor: Anchor | None = None
    domain: Domain = field(default_factory=Domain)
    progress: Progress = quiet
    facts: dict[type, Any] = field(default_factory=dict)

    def the_anchor(self, name: str) -> Anchor:
        """The anchor; a `PipelineError` naming the pass when there is none."""
        if self.anchor is None:
            raise PipelineError(f"pass '{name}' needs an anchor: give --anchors FILE")
        return self.anchor

    def need(self, kind: type[F]) -> tuple[F, "State"]:
        """The fact of this type, computed by its analysis with default options when missing."""
        state = self if kind in self.facts else ANALYSES[kind]().run(self)
        fact: F = state.facts[kind]
        return fact, state

    def with_fact(self, fact: object) -> "State":
        return replace(self, facts={**self.facts, type(fact): fact})

    def rewritten(self, network: Network, preserved: frozenset[type]) -> "State":
        """The state after a rewrite: facts it does not preserve are dropped."""
        facts = {kind: fact for kind, fact in self.facts.items() if kind in preserved}
        return replace(self, network=network, facts=facts)


class Pass(Protocol):
    """An analysis (annotates, adds facts) or a rewrite (returns a new network)."""

    name: ClassVar[str]
    promise: ClassVar[Promise]

    def run(self, state: State) -> State:
        """Do it; never changes the given network."""
        ...


PASSES: dict[str, type[Pass]] = {}
# The analysis that computes a kind of fact when a pass asks for it.
ANALYSES: dict[type, Callable[[], Pass]] = {}


def register_pass(cls: P) -> P:
    """Class decorator: make a pass known under its name."""
    PASSES[cls.name] = cls
    return cls


def provides(kind: type) -> Callable[[P], P]:
    """Class decorator: the pass computes facts of this type."""

    def wrap(cls: P) -> P:
        ANALYSES[kind] = cls
        return cls

    return wrap


def record(network: Network, state: State, entry: dict[str, Any], radius: float | None) -> None:
    """Write on a rewritten network what was done to it; survives save."""
    props = network.model.metadata_props
    done = json.loads(props.get("graphprune.rewrites", "[]"))
    props["graphprune.rewrites"] = json.dumps([*done, entry])
    if state.anchor is not None:
        x = np.ascontiguousarray(state.anchor.x.astype(np.float64))
        props["graphprune.anchor"] = hashlib.sha256(x.tobytes()).hexdigest()
        props["graphprune.label"] = str(state.anchor.label)
    if radius is not None:
        props["graphprune.radius"] = repr(radius)
        props["graphprune.domain"] = f"{state.domain.low},{state.domain.high}"
