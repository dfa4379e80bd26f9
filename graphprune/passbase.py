"""The pass protocol: a pass is a frozen dataclass whose fields are its options."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Protocol, TypeVar, runtime_checkable

import numpy as np

from graphprune.errors import PipelineError
from graphprune.ir import Anchor, Ball, Box, Domain, Network, Region
from graphprune.ir.points import intersection
from graphprune.progress import Progress, quiet

F = TypeVar("F")
P = TypeVar("P", bound=type["Pass"])

# Where a rewritten network still computes what the network before it computed.
Promise = Literal["everywhere", "ball", "anchor and adversarial", "anchor", "nothing"]
# Kinds of facts that a pass declares.
Facts = frozenset[type]


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
    box
        Where bounds hold in a pipeline without a ball; None when none was given.
    facts
        Results of analyses by type; an analysis also annotates the network's values.
    region
        Where all rewrites that promise a ``ball`` keep their promises; None before the first.
    notes
        What the running pass has to say about its choices, for the report.
    """

    network: Network
    anchor: Anchor | None = None
    domain: Domain = field(default_factory=Domain)
    progress: Progress = quiet
    facts: dict[type, Any] = field(default_factory=dict)
    box: Box | None = None
    region: Region | None = None
    notes: tuple[str, ...] = ()
    running: "Pass | None" = None

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
        return replace(self, facts={**self.facts, type(fact): fact})

    def noting(self, *notes: str) -> "State":
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
        """What of a region lies where the rewrites before keep their promises too.

        A network that is pruned for a small ball, then for a large one, is the first network on
        the small one only.
        """
        if region is None or self.region is None:
            return region or self.region
        common = intersection(self.region, region)
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
    """Run a pass; facts that it does not declare to keep are dropped from a new network."""
    after = item.run(replace(state, running=item, notes=()))
    if after.network is not state.network:
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
        Where the rewrite was made for: the ball or box of its bounds, or the attack's ball. Where
        the network is valid is what of it lies in those of the rewrites before.
    details
        Anything else worth knowing; JSON.
    """
    props = network.model.metadata_props
    where = {} if region is None else describe_region(state.narrowed(region))
    entry = {"pass": name, "replaced": dict(replaced), **details, **describe_region(region)}
    if state.anchor is not None:
        x = np.ascontiguousarray(state.anchor.x.astype(np.float64))
        where["anchor"] = entry["anchor"] = hashlib.sha256(x.tobytes()).hexdigest()
        where["label"] = str(state.anchor.label)
    if "radius" in where and _same_ball(props, where):
        # The file that the network was loaded from may be valid on a smaller ball only.
        where["radius"] = min(where["radius"], props["graphprune.radius"], key=float)
    done = json.loads(props.get("graphprune.rewrites", "[]"))
    props["graphprune.rewrites"] = json.dumps([*done, entry])
    total = json.loads(props.get("graphprune.replaced", "{}"))
    for kind, count in replaced.items():
        total[kind] = total.get(kind, 0) + count
    props["graphprune.replaced"] = json.dumps(total)
    props.update({f"graphprune.{key}": value for key, value in where.items()})


def _same_ball(props: Mapping[str, str], where: Mapping[str, str]) -> bool:
    """Whether what is known of a network is about balls around the same anchor."""
    known = [props.get(f"graphprune.{key}") for key in ("anchor", "domain")]
    return "graphprune.radius" in props and known == [where.get(k) for k in ("anchor", "domain")]


def describe_region(region: Region | None) -> dict[str, str]:
    """A ball or box as text: what a reader needs to know where a file is valid."""
    if isinstance(region, Ball):
        domain = f"{region.domain.low},{region.domain.high}"
        return {"radius": repr(float(region.radius)), "domain": domain}
    if isinstance(region, Box):
        ends = [np.unique(side) for side in (region.lower, region.upper)]
        if all(end.size == 1 for end in ends):
            return {"box": ",".join(repr(float(end[0])) for end in ends)}
        stacked = np.ascontiguousarray(np.stack([region.lower, region.upper]))
        return {"box": "sha256 of float64 [lower, upper] "
                + hashlib.sha256(stacked.tobytes()).hexdigest()}  # fmt: skip
    return {}
