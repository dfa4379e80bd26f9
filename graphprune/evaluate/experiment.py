"""The paper's experiments: error against runtime of substitutes, network by network.

A panel is one network with one metric; a recipe says which attack, bounds, certificate and exact
solver are used. Each panel is an ordinary run in a folder of its own, so every finished
measurement is kept and the same command goes on where it stopped, with more anchors too.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean, median
from typing import Any

from graphprune.attacks.attack import AttackMethod, Effort
from graphprune.bounds import Method
from graphprune.bounds.certify import certify
from graphprune.canonical import load
from graphprune.errors import GraphpruneError
from graphprune.evaluate.anchors import load_anchors
from graphprune.evaluate.archive import read_run
from graphprune.evaluate.distance import distance
from graphprune.evaluate.reading import AnchorRecord, EstimateRecord, RadiusRecord
from graphprune.evaluate.results import Job, Outcome
from graphprune.evaluate.run import Watch, evaluate
from graphprune.evaluate.settings import Metric, Settings, domain_of
from graphprune.evaluate.store import FILE, Store
from graphprune.ir import Network
from graphprune.ir.export import write_bytes
from graphprune.region import LINF, Anchor, Domain, Norm, norm_of

GAMMAS = (0.5, 0.75, 0.9, 0.95)
PLAN = "panel.json"


@dataclass(frozen=True)
class Panel:
    """A network, the metric that is estimated on it, and a file of anchors beside it."""

    network: str
    metric: Metric
    anchors: str = "mnist-train-100.npz"


PANELS = (
    Panel("mnist-a-stable", Metric.BND),
    Panel("mnist-b-stable", Metric.BND),
    Panel("mnist-a", Metric.BND),
    Panel("mnist-b", Metric.BND),
    Panel("mnist-c", Metric.ROB),
    Panel("mnist-d", Metric.ROB),
    Panel("mnist-e", Metric.ROB),
)


@dataclass(frozen=True)
class Recipe:
    """Which algorithms take the places of A, B, R and D.

    Attributes
    ----------
    attack, effort
        PGD within a bisection as published, or our own search.
    bounds
        That Algorithm 1 ranks by.
    method
        Bounds of the certificate.
    solver
        Backend of the exact distance.
    ours
        True where our own estimates are measured too.
    """

    attack: AttackMethod
    effort: Effort
    bounds: Method
    method: Method
    solver: str
    ours: bool


RECIPES = {
    "paper": Recipe("pgd", "standard", "fastlin-ibp", "fastlin", "auto", ours=False),
    "best": Recipe("descent", "standard", "crown", "crown", "auto", ours=True),
    "other": Recipe("descent", "fast", "ibp", "crown", "scip", ours=False),
}

OURS: dict[Metric, tuple[str, ...]] = {
    Metric.BND: ("nearest", "re-anchored", "auto", "sound"),
    Metric.ROB: ("extrapolate", "auto"),
}
COMBINED = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class Curve:
    """A family of estimates: how figures call it, and its specs with their labels."""

    title: str
    points: tuple[tuple[str, str], ...]


def families(network: Network, recipe: Recipe, metric: Metric, step: float) -> list[Curve]:
    """Estimates that are measured on a network, in families of growing substitution."""
    layers = len(network.source_activations)
    own = f" step={step}" if step != 0.05 else ""
    curves = [
        Curve(
            "Algorithm 1 (constant)",
            tuple(
                (f"{g:g}", f"prune-constant{{gamma={g}{own} bounds={recipe.bounds}}}")
                for g in GAMMAS
            ),
        ),
        Curve(
            "Algorithm 2 (secant)",
            tuple((str(k), f"linearize-secant{{layers={k}}}") for k in range(1, layers + 1)),
        ),
    ]
    if recipe.ours:
        curves += [
            Curve(
                "combined",
                tuple(
                    (f"{g:g}", f"combined{{gamma={g} bounds={recipe.bounds}}}") for g in COMBINED
                ),
            ),
            Curve(
                "by influence",
                tuple((f"{g:g}", f"substitute{{gamma={g}}}") for g in COMBINED),
            ),
            Curve("ours", tuple((spec, spec) for spec in OURS[metric])),
        ]
    return curves


@dataclass(frozen=True)
class Experiment:
    """Settings of an experiment, and how a panel of it is measured.

    Attributes
    ----------
    out
        Folder; one folder per recipe, domain and network below it.
    models
        Folder of the networks and their anchors.
    anchors
        Number of the seeded training anchors.
    step
        g0 of Algorithm 1.
    radius
        Where searches end: a boundary beyond it counts as collapsed, at this distance.
    milp
        Anchors that the plain MILP is measured on (its time limit is its own).
    new
        Set what a panel has aside, and start again.
    norm
        Norm of every distance, of `radius` too.
    """

    out: Path
    models: Path
    anchors: int = 100
    time_limit: float = 60.0
    step: float = 0.05
    radius: float = 0.5
    milp: int = 5
    workers: int = 1
    new: bool = False
    norm: Norm = LINF

    def run(
        self, panel: Panel, name: str, domain: Domain, watch: Watch | None = None
    ) -> Iterator[Outcome]:
        """Measure a panel; what is there already is not measured again."""
        path = self.models / f"{panel.network}.onnx"
        network = load(path)
        anchors = load_anchors(self.models / panel.anchors, network)[: self.anchors]
        recipe = RECIPES[name]
        curves = families(network, recipe, panel.metric, self.step)
        specs = tuple(dict.fromkeys(spec for c in curves for _, spec in c.points))
        settings = Settings(
            metrics=("adv", panel.metric), method=recipe.method,
            attack=recipe.attack, effort=recipe.effort, solver=recipe.solver,
            radius=self.radius if panel.metric == "bnd" else None, time_limit=self.time_limit,
            estimates=specs, domain=domain, workers=self.workers, norm=self.norm,
        )  # fmt: skip
        folder = self.folder(panel, name, domain)
        plan = {
            "network": panel.network, "sha256": network.source.sha256, "metric": panel.metric,
            "recipe": name, "step": self.step,
            "settings": settings.to_json(), "curves": [asdict(c) for c in curves],
        }  # fmt: skip
        if settings.norm is not LINF:
            limits = [domain.search_limit(a.x, settings.norm, settings.radius) for a in anchors]
            plan["limit"] = max(limits)
        # The first anchors are measured with the plain MILP too: a run of its own.
        split = self.milp if panel.metric == "bnd" and recipe.ours else 0
        parts = (
            ("first", anchors[:split], replace(settings, estimates=(*specs, "milp"))),
            ("rest", anchors[split:], settings),
        )
        if not self.new:
            _require_same(folder, network)
        # Both parts of a panel are read together: one that nothing is added to has to agree too.
        for part, _, own in parts:
            if (folder / part / FILE).exists():
                with Store(folder / part, own, self.new, grows=False):
                    pass
        _write_plan(folder, plan)
        _warm_up(network, anchors[0], settings)
        for part, chosen, own in parts:
            if chosen:
                outcome = evaluate([Job(network, chosen)], own, run_dir=folder / part, watch=watch)
                yield outcome
                if outcome.interrupted:
                    return

    def folder(self, panel: Panel, name: str, domain: Domain) -> Path:
        return self.out / f"{name}-{_measured_in(domain, norm_of(self.norm))}" / panel.network


def _measured_in(domain: Domain, norm: Norm) -> str:
    """The domain as the command line has it, and the norm where it is another than ``linf``."""
    return domain.option if norm is LINF else f"{domain.option} {norm}"


def _require_same(folder: Path, network: Network) -> None:
    """Refuse to add another network's measurements to a panel."""
    if (folder / PLAN).exists():
        known = json.loads((folder / PLAN).read_text()).get("sha256")
        if known not in (None, network.source.sha256):
            raise GraphpruneError(
                f"{folder}: was measured on another {network.source.path}; give another --out, or"
                " --new to start again"
            )


def _write_plan(folder: Path, plan: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / PLAN, json.dumps(plan, indent=1).encode())


def _warm_up(network: Network, anchor: Anchor, settings: Settings) -> None:
    """Have everything imported and compiled before anything is timed."""
    same: dict[str, Any] = {"domain": settings.domain, "norm": settings.norm, "time_limit": 2.0}
    distance(network, anchor, **same)
    certify(network, anchor, method=settings.method, **same)


@dataclass(frozen=True)
class CurvePoint:
    """The mean over anchors of one estimate: a point of Figure 3.

    Attributes
    ----------
    label
        g, the number of layers, or the estimator.
    error
        Mean of |estimate - d| / d; a collapsed boundary counts at the search limit.
    median_error
        The median: one collapsed boundary does not move it.
    seconds
        Mean runtime, attack, bounds and pruning included.
    share
        Mean runtime over the mean runtime of the full computation.
    collapsed, stopped
        Anchors whose substitute has no boundary within the search limit, or whose metric was
        stopped by the time limit: these count at what was known by then.
    """

    curve: str
    label: str
    spec: str
    anchors: int
    error: float
    median_error: float
    seconds: float
    share: float
    neurons_left: float
    collapsed: int
    stopped: int


@dataclass(frozen=True, eq=False)
class Measured:
    """A panel as measured; runtimes are processor time, which a busy machine changes least.

    Attributes
    ----------
    seconds
        Mean runtime of the metric on the network itself, the attack included.
    attack
        The baseline: error and runtime of taking d_adv for the metric.
    exact
        Anchors whose reference is exact; the others are compared with the closest point known.
    rows
        One per anchor and estimate.
    """

    plan: dict[str, Any]
    anchors: int
    exact: int
    seconds: float
    attack: CurvePoint
    points: tuple[CurvePoint, ...]
    rows: tuple[dict[str, Any], ...]

    @property
    def title(self) -> str:
        return f"{self.plan['network']}, d_{self.plan['metric']}"

    @property
    def domain(self) -> str:
        """As the command line has it: ``0,1``, or ``none``; with a norm other than ``linf``."""
        return panel_of(self.plan)["domain"]

    def to_json(self) -> dict[str, Any]:
        return {
            "plan": self.plan, "anchors": self.anchors, "exact": self.exact,
            "seconds": self.seconds, "attack": asdict(self.attack),
            "points": [asdict(p) for p in self.points],
        }  # fmt: skip


def panel_of(plan: dict[str, Any]) -> dict[str, str]:
    """The panel of a plan, as every one of its rows names it."""
    return {
        "network": plan["network"], "metric": f"d_{plan['metric']}", "recipe": plan["recipe"],
        "domain": _measured_in(
            domain_of(plan["settings"]), norm_of(plan["settings"].get("norm", LINF))
        ),
    }  # fmt: skip


def read_experiment(out: str | Path) -> list[Measured]:
    """Every panel below a folder, with what is finished by now.

    Raises
    ------
    GraphpruneError
        There is no panel with a finished anchor.
    """
    plans = sorted(Path(out).glob(f"*/*/{PLAN}"))
    found = [measured for plan in plans if (measured := _read(plan)) is not None]
    if not found:
        raise GraphpruneError(
            f"{out}: holds no finished measurement;"
            f" 'graphprune experiment run --out {out}' makes them"
        )
    return in_order(found)


def in_order(panels: Iterable[Measured]) -> list[Measured]:
    """Panels by recipe and domain, networks as the paper has them; the first of equals is kept."""
    networks = [panel.network for panel in PANELS]

    def place(panel: Measured) -> tuple[str, str, int, str]:
        name = panel.plan["network"]
        number = networks.index(name) if name in networks else len(networks)
        return panel.plan["recipe"], panel.domain, number, name

    first: dict[tuple[str, str, int, str], Measured] = {}
    for panel in panels:
        first.setdefault(place(panel), panel)
    return [first[key] for key in sorted(first)]


def _read(file: Path) -> Measured | None:
    plan = json.loads(file.read_text())
    # Another --milp moves anchors from one part to the other: each counts once.
    records: dict[int, AnchorRecord] = {}
    for run in sorted(file.parent.glob(f"*/{FILE}")):
        for evaluated in read_run(run.parent):
            for record in evaluated.document.anchors:
                if record.finished:
                    records.setdefault(record.index, record)
    return summarise(plan, list(records.values())) if records else None


def summarise(plan: dict[str, Any], records: Sequence[AnchorRecord]) -> Measured | None:
    """The points of a panel from the records of its anchors."""
    metric = plan["metric"]
    cases = [case for r in records if (case := _Case.of(r, metric)) is not None]
    if not cases:
        return None
    # A search without a stated limit ends at the domain's reach, at most 1 for images.
    limit = plan.get("limit") or plan["settings"]["radius"] or 1.0
    full = mean(c.seconds for c in cases)
    rows: list[dict[str, Any]] = []
    for case in cases:
        common = panel_of(plan) | {
            "anchor": case.index, "reference": case.value, "exact": case.exact,
            "full_seconds": case.seconds,
        }  # fmt: skip
        for spec, e in case.estimates.items():
            if e.status == "error":
                continue
            value = case.value_of(e, metric, limit)
            rows.append(
                common | {
                    "spec": spec, "value": value, "error": abs(value - case.value) / case.value,
                    "seconds": e.cpu_seconds + case.attack_seconds * e.attacked,
                    "wall_seconds": e.seconds, "prune_seconds": e.prune_seconds,
                    "neurons_left": e.neurons_left, "status": e.status,
                    "capped": e.capped, "lower": e.lower, "upper": e.upper,
                }
            )  # fmt: skip
    curves = [*plan["curves"], {"title": "plain MILP", "points": [["milp", "milp"]]}]
    points = [
        _point(curve["title"], label, spec, [r for r in rows if r["spec"] == spec], full)
        for curve in curves
        for label, spec in curve["points"]
        if any(r["spec"] == spec for r in rows)
    ]
    attack = [
        {
            "error": abs(c.attack - c.value) / c.value, "seconds": c.attack_seconds,
            "neurons_left": 0, "status": "ok",
        }
        for c in cases
    ]  # fmt: skip
    return Measured(
        plan, len(cases), sum(c.exact for c in cases), full,
        _point("attack", "attack", "", attack, full), tuple(points), tuple(rows),
    )  # fmt: skip


def _point(
    curve: str, label: str, spec: str, rows: Sequence[dict[str, Any]], full: float
) -> CurvePoint:
    errors = [r["error"] for r in rows]
    seconds = mean(r["seconds"] for r in rows)
    return CurvePoint(
        curve, label, spec, len(rows), mean(errors), median(errors), seconds, seconds / full,
        mean(r["neurons_left"] for r in rows),
        sum(r["status"] == "collapsed" for r in rows), sum(r["status"] == "interval" for r in rows),
    )  # fmt: skip


@dataclass(frozen=True)
class _Case:
    """One anchor: the reference, the attack and the estimates by spec."""

    index: int
    value: float
    exact: bool
    seconds: float
    attack: float
    attack_seconds: float
    estimates: dict[str, EstimateRecord]

    @classmethod
    def of(cls, record: AnchorRecord, metric: Metric) -> "_Case | None":
        attack, full = record.adv, record.rob if metric == "rob" else record.bnd
        if attack is None or attack.value is None or full is None:
            return None
        if isinstance(full, RadiusRecord):
            value, exact = full.value, not full.stopped
        else:
            value, exact = full.upper, full.status == "exact"
        if not value:
            return None
        if metric == "bnd" and not exact:
            # The closest point that anything found: estimates that prove their upper end too.
            proven = (e.upper for e in record.estimates if e.status != "error")
            value = min([value, *(upper for upper in proven if upper is not None)])
        return cls(
            record.index, value, exact, full.cpu_seconds + attack.cpu_seconds, attack.value,
            attack.cpu_seconds, {e.spec: e for e in record.estimates},
        )  # fmt: skip

    def value_of(self, estimate: EstimateRecord, metric: Metric, limit: float) -> float:
        """An estimate's value; where it has none, what is known without it."""
        if estimate.value is not None:
            return float(min(estimate.value, limit))
        if estimate.status == "collapsed":
            return limit
        # Out of time: nothing is certified, nothing closer than the attack's point was found.
        return 0.0 if metric == "rob" else self.attack


def pareto(points: Sequence[CurvePoint]) -> list[CurvePoint]:
    """Points that no other beats in both error and runtime, the fastest first."""
    best: list[CurvePoint] = []
    for point in sorted(points, key=lambda p: (p.seconds, p.error)):
        if not best or point.error < best[-1].error:
            best.append(point)
    return best
