"""Running passes one after the other."""

from collections import Counter
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from time import monotonic
from typing import Self, TypedDict, Unpack

from graphprune.errors import OutOfTimeError, check_kind, check_options
from graphprune.ir import A_NETWORK, Network
from graphprune.ir.export import save
from graphprune.ir.network import operator
from graphprune.notebook import table
from graphprune.passes.base import Pass, State, execute
from graphprune.pipeline.text import parse, unparse
from graphprune.pipeline.verify import Checked, check_promise, check_reading
from graphprune.progress import Progress, quiet
from graphprune.region import AN_ANCHOR, Anchor, Box, Domain
from graphprune.runtime.original import as_asked
from graphprune.runtime.resources import current
from graphprune.runtime.threads import blas_threads


@dataclass(frozen=True)
class PassReport:
    """One pass's work, and the network after it.

    Attributes
    ----------
    seconds
        Wall time of the pass, verification not counted.
    neurons
        Living neurons.
    multiply_adds
        Per sample.
    operators
        (operator, count) of the canonical graph, by name.
    notes
        The choices the pass made: for fusion, the form of every segment.
    checked
        The points on which its promise was checked; None where it was not.
    """

    name: str
    seconds: float
    neurons: int
    parameters: int
    multiply_adds: int
    operators: tuple[tuple[str, int], ...] = ()
    notes: tuple[str, ...] = ()
    checked: Checked | None = None

    @property
    def nodes(self) -> int:
        return sum(count for _, count in self.operators)

    @classmethod
    def of(
        cls,
        name: str,
        network: Network,
        seconds: float,
        notes: tuple[str, ...],
        checked: Checked | None,
    ) -> Self:
        counts = Counter(type(operator(node)).__name__ for node in network.nodes)
        return cls(
            name, seconds, network.live_neurons, network.parameters, network.multiply_adds,
            tuple(sorted(counts.items())), notes, checked,
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class PipelineResult:
    """The rewritten network, what every pass did, and the facts found on the way."""

    network: Network
    report: tuple[PassReport, ...]
    state: State

    def __repr__(self) -> str:
        seconds = sum(one.seconds for one in self.report)
        names = ", ".join(one.name for one in self.report)
        return (
            f"PipelineResult({names or 'no passes'}: {self.network.live_neurons} living neurons,"
            f" {seconds:.2f} s)"
        )

    def _repr_html_(self) -> str:
        """Show what every pass did in a notebook."""
        rows = [
            (
                p.name,
                p.neurons,
                p.parameters,
                p.multiply_adds,
                f"{p.seconds:.2f}",
                "; ".join(p.notes),
            )
            for p in self.report
        ]
        head = ("pass", "living neurons", "parameters", "multiply-adds", "seconds", "notes")
        return table(head, rows, "passes")


class PipelineOptions(TypedDict, total=False):
    """Options of `Pipeline.run`, as it documents them."""

    domain: Domain | None
    box: Box | None
    facts: tuple[object, ...]
    deadline: float
    progress: Progress
    verify: bool
    dump: str | Path | None
    whole_units: bool


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

    @property
    def exact(self) -> bool:
        """True where every pass keeps the function, everywhere or in its ball or box."""
        return all(item.promise in ("everywhere", "ball") for item in self.passes)

    def run(
        self,
        network: Network,
        anchor: Anchor | None = None,
        **options: Unpack[PipelineOptions],
    ) -> PipelineResult:
        """Run all passes.

        Parameters
        ----------
        domain
            Domain of perturbed points; [0, 1] unless given.
        box
            Where bounds without a radius hold: exact pruning for a whole input box.
        facts
            Results known already (an `Attack`, say), so that no pass computes them again.
        deadline
            On the clock of :func:`time.monotonic`: looked at before every pass, and by passes of
            many rounds before each.
        progress
            Told in a few words what is being done.
        verify
            After every pass compare the networks before and after it in ONNX Runtime and in
            float64, on the points on which the pass promises equality; before the first one, what
            would be written of the network with its file.
        dump
            A folder, made where it is missing: the network before the first pass and after each
            one, as ``00-input.onnx``, ``01-NAME.onnx``, ...
        whole_units
            Exact rewrites remove whole units and layers alone: the result runs no slower, and has
            more neurons left.

        Returns
        -------
        PipelineResult
            The rewritten network, one report per pass, and the last state with its facts.

        Raises
        ------
        BrokenPromiseError
            `verify` found a point that shows it.
        OutOfTimeError
            At the deadline passes were left.
        """
        check_options("run", options, PipelineOptions.__annotations__)
        check_kind(network, Network, A_NETWORK)
        check_kind(anchor, Anchor | None, AN_ANCHOR)
        deadline, dump = options.get("deadline", inf), options.get("dump")
        resources = replace(current(), deadline=deadline).telling(options.get("progress", quiet))
        domain = options.get("domain") or Domain()
        anchor = None if anchor is None else as_asked(network, anchor, domain)
        state = State(
            network, anchor, domain, box=options.get("box"),
            facts={type(fact): fact for fact in options.get("facts", ())}, resources=resources,
            whole_units=options.get("whole_units", False),
        )  # fmt: skip
        report = []
        if options.get("verify"):
            check_reading(state)
        _dump(network, dump, 0, "input")
        for number, item in enumerate(self.passes, 1):
            start = monotonic()
            if start >= deadline:
                raise OutOfTimeError(f"out of time before pass '{item.name}'")
            with blas_threads(resources.threads):
                before, state = state, execute(item, state)
            seconds = monotonic() - start
            if state.network is not network:
                state.network.model.metadata_props["graphprune.pipeline"] = str(self)
            _dump(state.network, dump, number, item.name)
            checked = check_promise(item, before, state) if options.get("verify") else None
            notes = state.notes
            report.append(PassReport.of(item.name, state.network, seconds, notes, checked))
        return PipelineResult(state.network, tuple(report), state)


def _dump(network: Network, folder: str | Path | None, number: int, name: str) -> None:
    if folder is not None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        save(network, Path(folder) / f"{number:02}-{name}.onnx")
