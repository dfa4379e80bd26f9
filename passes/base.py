"""The pass protocol: a pass is a frozen dataclass whose fields are its options."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Protocol, TypeVar, runtime_checkable

import numpy as np

from graphprune.errors import PipelineError
from graphprune.ir import Network
from graphprune.ir.export import with_own_source
from graphprune.region import Anchor, Box, Domain, Region
from graphprune.runtime.resources import Resources, current
from graphprune.transforms.merge_neurons import BLOCK

F = TypeVar("F")
P = TypeVar("P", bound=type["Pass"])

# Where a rewritten network still computes what the network before it computed.
Promise = Literal["everywhere", "ball", "anchor and adversarial", "anchor", "nothing"]
# Kinds of facts that a pass declares.
Facts = frozenset[type]


@dataclass(frozen=True, eq=False)
class State:
    """The state that passes read and return.

    Attributes
    ----------
    network
        The current network.
    anchor
        The point of a local pipeline; None for passes that need none.
    domain
        Domain of perturbed points.
    box
        Where bounds hold in a pipeline without a ball; None when none was given.
    facts
        Results of analyses by type; an analysis also annotates the network's values.
    region
        Where all rewrites that promise a ``ball`` keep their promises; None before the first.
    notes
        Choices of the running pass, for the report.
    whole_units
        Exact rewrites remove whole units and layers alone, so that the result runs no slower; by
        default every neuron they can, so that the fewest are left.
    resources
        Resources of the pipeline: passes of many rounds raise `OutOfTimeError` at its deadline.
    """

    network: Network
    anchor: Anchor | None = None
    domain: Domain = field(default_factory=Domain)
    facts: dict[type, Any] = field(default_factory=dict)
    box: Box | None = None
    region: Region | None = None
    notes: tuple[str, ...] = ()
    whole_units: bool = False
    running: "Pass | None" = None
    resources: Resources = field(default_factory=current)

    def the_anchor(self, name: str) -> Anchor:
        """The anchor; a `PipelineError` naming the pass when there is none."""
        if self.anchor is None:
            raise PipelineError(f"pass '{name}' needs an anchor: give --anchors FILE")
        return self.anchor

    def need(self, kind: type[F]) -> tuple[F, "State"]:
        """The fact of this type, computed by its analysis with default options when missing."""
        if self.running is not None and kind not in self.running.needs:
            raise PipelineError(
                f"pass '{self.running.name}' asks for {kind.__name__} without declaring the need"
            )
        state = self
        if kind not in self.facts:
            state = replace(execute(ANALYSES[kind](), self), running=self.running)
        fact: F = state.facts[kind]
        return fact, state

    def with_fact(self, fact: object) -> "State":
        """The state that knows this result of an analysis too, in place of an earlier one."""
        return replace(self, facts={**self.facts, type(fact): fact})

    @property
    def block(self) -> int:
        """Multiples of this many channels stay one: runtimes are slower on others."""
        return BLOCK if self.whole_units else 1

    def noting(self, *notes: str) -> "State":
        """The state in which the running pass has said more about its choices."""
        return replace(self, notes=(*self.notes, *notes))

    def rewritten(self, network: Network, *untrue: type, region: Region | None = None) -> "State":
        """The state after a rewrite.

        Parameters
        ----------
        untrue
            Kinds of facts that this run did not keep although the pass declares them.
        region
            Where a ``ball`` promise holds.
        """
        facts = {kind: fact for kind, fact in self.facts.items() if kind not in untrue}
        return replace(self, network=network, facts=facts, region=self.narrowed(region))

    def narrowed(self, region: Region | None) -> Region | None:
        """The part of a region in which the rewrites before keep their promises too.

        A network that is pruned for a small ball, then for a large one, is the first network on
        the small one only.
        """
        if region is None or self.region is None:
            return region or self.region
        common = self.region.intersection(region)
        if common is None:
            name = "" if self.running is None else f"pass '{self.running.name}': "
            raise PipelineError(
                f"{name}its ball or box and that of the rewrites before it do not meet: the result"
                " would compute nowhere what the network computes"
            )
        return common


class Pass(Protocol):
    """An analysis (annotates, adds facts) or a rewrite (returns a new network).

    Attributes
    ----------
    promise
        Where the result computes what the network before it computed.
    needs
        The facts it may ask its state for.
    """

    name: ClassVar[str]
    promise: ClassVar[Promise]
    needs: ClassVar[Facts]

    def run(self, state: State) -> State:
        """Do it; never changes the given network."""
        ...


@runtime_checkable
class Rewrite(Pass, Protocol):
    """A pass that makes a new network; `keeps` are the facts that stay true of it."""

    keeps: ClassVar[Facts]


def execute(item: Pass, state: State) -> State:
    """Run a pass; facts that it does not declare to keep are dropped from a new network.

    A network that need not equal the one before around the anchor gets a source of its own: points
    of another function are not run through the file.
    """
    after = item.run(replace(state, running=item, notes=()))
    if after.network is not state.network:
        if item.promise not in ("everywhere", "ball") and (
            after.network.source is state.network.source
        ):
            after = replace(after, network=with_own_source(after.network))
        keeps: Facts = item.keeps if isinstance(item, Rewrite) else frozenset()
        after = replace(after, facts={k: fact for k, fact in after.facts.items() if k in keeps})
    return replace(after, running=None)


PASSES: dict[str, type[Pass]] = {}
# The analysis that computes a kind of fact when a pass asks for it.
ANALYSES: dict[type, Callable[[], Pass]] = {}


def register_pass(cls: P) -> P:
    """Class decorator: make a pass known under its name."""
    known = PASSES.get(cls.name)
    if known is not None and (known.__module__, known.__qualname__) != (
        cls.__module__, cls.__qualname__,
    ):  # fmt: skip
        raise PipelineError(f"two passes are called '{cls.name}': {known} and {cls}")
    PASSES[cls.name] = cls
    return cls


def provides(kind: type) -> Callable[[P], P]:
    """Class decorator: the pass computes facts of this type."""

    def wrap(cls: P) -> P:
        ANALYSES[kind] = cls
        return cls

    return wrap


def record(
    network: Network,
    state: State,
    name: str,
    replaced: Mapping[str, int],
    region: Region | None,
    **details: Any,
) -> None:
    """Write on a rewritten network what was done to it; survives save and load.

    Parameters
    ----------
    name
        The pass.
    replaced
        Number of neurons by the kind of their replacement (``inactive``, ``secant``, ...).
    region
        Where the rewrite was made for: the ball or box of its bounds, or the attack's ball.
    details
        Anything else worth knowing; JSON.

    Notes
    -----
    The file's own ``graphprune.anchor``, ``radius``, ``box``, ... stand only where they are true of
    all rewrites, those of a file that the network was loaded from too: for balls around one anchor
    the smallest radius. Of a file pruned around two anchors only its list of rewrites tells.
    """
    props = network.model.metadata_props
    entry = {"pass": name, "replaced": dict(replaced), **details}
    entry |= {} if region is None else region.describe()
    if state.anchor is not None:
        x = np.ascontiguousarray(state.anchor.x.astype(np.float64))
        entry["anchor"] = hashlib.sha256(x.tobytes()).hexdigest()
        entry["label"] = str(state.anchor.label)
    done = [*json.loads(props.get("graphprune.rewrites", "[]")), entry]
    props["graphprune.rewrites"] = json.dumps(done)
    total = json.loads(props.get("graphprune.replaced", "{}"))
    for kind, count in replaced.items():
        total[kind] = total.get(kind, 0) + count
    props["graphprune.replaced"] = json.dumps(total)
    for key in WHERE:
        props.pop(f"graphprune.{key}", None)
    props.update({f"graphprune.{key}": value for key, value in _valid(done).items()})


# Keys that say where a rewrite is valid; the label is that of the anchor.
WHERE = ("anchor", "domain", "norm", "box", "radius", "label")


def _valid(rewrites: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Where a network is valid after these rewrites; empty where that is no one ball or box."""
    bound = [entry for entry in rewrites if "radius" in entry or "box" in entry] or rewrites
    if any(entry.get(key) != bound[0].get(key) for entry in bound for key in WHERE[:4]):
        return {}
    smallest = min(bound, key=lambda entry: float(entry.get("radius", 0.0)))
    return {key: smallest[key] for key in WHERE if key in smallest}
