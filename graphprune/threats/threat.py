"""A threat: models one behind the other, and the questions that they make of questions."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property, partial
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from graphprune.canonical.questions import question
from graphprune.errors import GraphpruneError, check_kind, check_known
from graphprune.ir import A_NETWORK, Network, Query
from graphprune.ir.front import Front, in_front, require_one_input
from graphprune.ir.query import Target
from graphprune.option_text import build, split, unparsed
from graphprune.region import AN_ANCHOR, LINF, Anchor, Domain
from graphprune.runtime.original import as_asked
from graphprune.threats.base import Directions, Fixing, ThreatModel, Units, Weights
from graphprune.threats.fronts import AlongDirections, PerElement
from graphprune.threats.numbers import Numbers
from graphprune.threats.registry import known_threats

Floats = NDArray[np.float64]
Shape = tuple[int, ...]

# A comma between numbers of one option, as in ``box=8,8,5,5``.
_LISTED = re.compile(r"\s*,\s*(?=[^\s,={}|]+\s*[,}\s])(?![^\s,={}|]*=)")


@dataclass(frozen=True)
class Threat:
    """Threat models, from the file outward.

    Other units come first, then weights per element, which multiply; then directions, which add
    up, and move an element by its weight.

    Attributes
    ----------
    models
        In this order.
    recorded
        The text and the digest of a threat that is only known by name: that of a run's document.
    """

    models: tuple[ThreatModel, ...]
    recorded: tuple[str, str] | None = None

    def __post_init__(self) -> None:
        order = (Units, Weights, Directions)
        ranks = [next(i for i, k in enumerate(order) if isinstance(m, k)) for m in self.models]
        if ranks != sorted(ranks):
            first = next(i for i, rank in enumerate(ranks[1:], 1) if rank < ranks[i - 1])
            raise GraphpruneError(
                f"threat '{self}': '{self.models[first].name}' stands behind"
                f" '{self.models[first - 1].name}': units come first, then weights and masks, then"
                " directions"
            )
        if ranks.count(0) > 1:
            raise GraphpruneError(f"threat '{self}': one change of units is enough")

    @classmethod
    def parse(cls, text: str) -> Self:
        """The threat of a text such as ``normalise{mean=0.5 std=0.25} | mask{box=8+8+5+5}``.

        Raises
        ------
        GraphpruneError
            An unknown model or option, a value of the wrong type, or a file that cannot be read.
        """
        parts = split(_LISTED.sub("+", text), between="|", whole="threat", one="threat model")
        if not parts:
            raise GraphpruneError("the threat names no model; `graphprune passes` lists them")
        known = known_threats()
        for name, _ in parts:
            check_known("threat model", name, known)
        return cls(tuple(build(known[name], name, o, one="threat model") for name, o in parts))

    def __str__(self) -> str:
        if self.recorded is not None:
            return self.recorded[0]
        return " | ".join(unparsed(model.name, model) for model in self.models)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all numbers that files and arrays hold; empty where the text says all."""
        if self.recorded is not None:
            return self.recorded[1]
        values = [getattr(m, f.name) for m in self.models for f in fields(m)]  # type: ignore[arg-type]
        found = [value.digest for value in values if isinstance(value, Numbers)]
        return hashlib.sha256(" ".join(found).encode()).hexdigest() if found else ""

    def to_json(self) -> dict[str, str]:
        """The keys of settings as JSON that tell it."""
        return {"threat": str(self)} | ({"threat_sha256": self.digest} if self.digest else {})

    @classmethod
    def from_json(cls, settings: Any) -> "Threat | None":
        """The threat of settings as JSON: its name alone, since its files may be gone."""
        text = settings.get("threat")
        return None if text is None else cls((), (text, settings.get("threat_sha256", "")))

    @property
    def _units(self) -> list[Units]:
        return [model for model in self.models if isinstance(model, Units)]

    @property
    def local(self) -> bool:
        """True where it depends on the anchor: other units alone do not."""
        return len(self._units) < len(self.models)

    @property
    def fixing(self) -> bool:
        """True where it fixes elements and changes nothing else."""
        return all(isinstance(model, Fixing) for model in self.models)

    def check_anchors(self, anchors: Sequence[Anchor], domain: Domain) -> None:
        """Refuse anchors in other units than the threat's, and those of which it moves none.

        Raises
        ------
        GraphpruneError
            It names the anchor.
        """
        stuck = None
        for anchor in anchors:
            try:
                self.front(anchor, domain)
                break
            except GraphpruneError as error:
                stuck = stuck or error
        else:
            if stuck is not None:
                raise stuck
        for anchor in anchors:
            for model in self.models:
                model.check_anchor(anchor)

    def prepared(self, network: Network, domain: Domain) -> Network:
        """The network of inputs in the threat's units, checked against all of it.

        Raises
        ------
        GraphpruneError
            The threat does not fit the network's samples or the domain, or cannot move anything.
        """
        for model in self.models:
            model.check(network.input_shape, domain)
        weights = self._weights(network.input_shape)
        if not np.any(weights):
            raise GraphpruneError(f"threat '{self}': cannot move: every element is fixed")
        mixed = any(isinstance(m, Units | Directions) for m in self.models)
        if mixed or not np.all((weights == 0.0) | (weights == 1.0)):
            require_one_input(network)
        for model in self._units:
            network = network.cached(("threat", model), partial(model.before, network))
        return network

    def _weights(self, shape: Shape) -> Floats:
        product = np.ones(shape)
        for model in self.models:
            if isinstance(model, Weights):
                product = product * model.weights(shape)
        return product

    def ask(self, query: Query) -> Query:
        """The question about z that a question about x is, on a network that was prepared.

        Raises
        ------
        GraphpruneError
            The threat does not move this anchor.
        """
        found = self.front(query.anchor, query.domain)
        if found is None:
            return query
        front, domain = found
        if isinstance(front, PerElement) and front.plain:
            # The network itself, where only these elements may change: to the last digit.
            return replace(query, domain=front.inputs)
        anchor = replace(query.anchor, x=np.zeros(front.shape))
        # The tasks of one anchor share it, with all that is compiled for it.
        version = self, query.anchor.center.tobytes(), query.domain
        network = query.network.latest("threat", version, partial(in_front, query.network, front))
        return replace(query, network=network, anchor=anchor, domain=domain)

    def front(self, anchor: Anchor, domain: Domain) -> tuple[Front, Domain] | None:
        """The map from z, which is 0 at the anchor, to inputs; and the domain of z.

        None where all elements may change and count alike.

        Raises
        ------
        GraphpruneError
            The threat does not move this anchor.
        """
        x = anchor.center
        weights = self._weights(x.shape)
        found = [m.along(x, domain) for m in self.models if isinstance(m, Directions)]
        if not found:
            front = PerElement(x, weights, domain)
            return None if np.all(weights == 1.0) else (front, front.box)
        steps = np.concatenate([one.steps for one in found]) * weights
        lower = np.concatenate([one.lower for one in found])
        upper = np.concatenate([one.upper for one in found])
        if not np.any(steps.reshape(len(steps), -1), axis=1).all():
            raise GraphpruneError(
                f"threat '{self}': cannot move anchor {anchor.index}: a direction is zero there"
            )
        if len(steps) == 1:
            ends = _saturated(x, steps[0], domain)
            lower, upper = np.maximum(lower, -ends[0]), np.minimum(upper, ends[1])
        clipped = _leaves(x, steps, lower, upper, domain)
        return AlongDirections(x, steps, domain, clipped), Domain(lower, upper)


# The forms in which functions take a threat.
ThreatLike = Threat | ThreatModel | str


def threat_of(given: ThreatLike | None) -> Threat | None:
    """The threat that a text or a model means."""
    if given is None or isinstance(given, Threat):
        return given
    if isinstance(given, ThreatModel):
        return Threat((given,))
    if isinstance(given, str):
        return Threat.parse(given)
    raise GraphpruneError(f"a threat is a text or a threat model, not {type(given).__name__}")


def asked(
    network: Network,
    anchor: Anchor,
    domain: Domain | None,
    threat: ThreatLike | None,
    *,
    norm: str = LINF,
    seed: int = 0,
    target: Target = None,
    top_k: int = 1,
) -> Query:
    """The question that functions are asked about a network and an anchor.

    Raises
    ------
    GraphpruneError
        The question does not fit the network.
    AnchorError
        The anchor does not.
    """
    check_kind(network, Network, A_NETWORK)
    check_kind(anchor, Anchor, AN_ANCHOR)
    domain, found = domain or Domain(), threat_of(threat)
    if found is not None:
        network = found.prepared(network, domain)
    anchor = as_asked(network, anchor, domain)
    if found is not None:
        found.check_anchors([anchor], domain)
    query = question(network, anchor, domain, norm=norm, seed=seed, target=target, top_k=top_k)
    return query if found is None else found.ask(query)


def _saturated(x: Floats, step: Floats, domain: Domain) -> tuple[float, float]:
    """The farthest that a direction changes anything, back and forth, rounded up."""
    low, high = domain.box(x.shape)
    moves = step != 0.0
    s, up, down = step[moves], (high - x)[moves], (x - low)[moves]
    forth = np.where(s > 0.0, up, down) / np.abs(s)
    back = np.where(s > 0.0, down, up) / np.abs(s)
    return (
        float(np.nextafter(np.max(back, initial=0.0), np.inf)),
        float(np.nextafter(np.max(forth, initial=0.0), np.inf)),
    )


def _leaves(
    x: Floats, steps: Floats, lower: Floats, upper: Floats, domain: Domain
) -> tuple[bool, bool]:
    """Tell of each end of the domain if it can be left."""
    flat = steps.reshape(len(steps), -1)
    ways = [np.zeros(x.size), np.zeros(x.size)]
    for row, low, high in zip(flat, lower, upper, strict=True):
        moves = row != 0.0
        for side, sign in ((0, -1.0), (1, 1.0)):
            ends = np.where(row[moves] * sign > 0.0, high, -low)
            ways[side][moves] += np.abs(row[moves]) * ends
    least, most = domain.box(x.shape)
    # An image of the last bit beyond the domain is brought back when points are made.
    slack = 1e-12 * (1.0 + np.abs(x))
    return (
        bool(np.any(x - ways[0].reshape(x.shape) < least - slack)),
        bool(np.any(x + ways[1].reshape(x.shape) > most + slack)),
    )
