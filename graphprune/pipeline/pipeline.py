"""Running passes one after the other."""

from dataclasses import dataclass
from time import monotonic
from typing import Self

from graphprune.ir import Anchor, Domain, Network
from graphprune.passbase import Pass, State
from graphprune.pipeline.text import parse, unparse
from graphprune.progress import Progress, quiet


@dataclass(frozen=True)
class PassReport:
    """What one pass did: seconds, and living neurons, parameters and work after it."""

    name: str
    seconds: float
    neurons: int
    parameters: int
    multiply_adds: int


@dataclass(frozen=True, eq=False)
class PipelineResult:
    """The rewritten network, what every pass did, and the facts found on the way."""

    network: Network
    report: tuple[PassReport, ...]
    state: State


@dataclass(frozen=True)
class Pipeline:
    """A sequence of passes.

    Examples
    --------
    >>> str(Pipeline.parse("attack,prune-constant{gamma=0.5 step=0.05}"))
    'attack, prune-constant{gamma=0.5}'
    """

    passes: tuple[Pass, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """The pipeline of a text; `str` is its inverse."""
        return cls(parse(text))

    def __str__(self) -> str:
        return unparse(self.passes)

    def run(
        self,
        network: Network,
        anchor: Anchor | None = None,
        *,
        domain: Domain | None = None,
        facts: tuple[object, ...] = (),
        progress: Progress = quiet,
    ) -> PipelineResult:
        """Run all passes.

        Parameters
        ----------
        facts
            Results known already (an `Attack`, say), so that no pass computes them again.
        """
        known = {type(fact): fact for fact in facts}
        state = State(network, anchor, domain or Domain(), progress, known)
        report = []
        for item in self.passes:
            start = monotonic()
            state = item.run(state)
            seconds = monotonic() - start
            now = state.network
            report.append(
                PassReport(
                    item.name, seconds, now.living_neurons, now.parameters, now.multiply_adds
                )
            )
        if state.network is not network:
            state.network.model.metadata_props["graphprune.pipeline"] = str(self)
        return PipelineResult(state.network, tuple(report), state)
