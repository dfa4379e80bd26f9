"""Every metric of many points in one call: `gp.evaluate`, and the table that it returns."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, get_args

import numpy as np

from graphprune.attacks.attack import AttackMethod, Effort
from graphprune.bounds import Method
from graphprune.canonical.questions import as_classifier
from graphprune.errors import AnchorError, GraphpruneError, check_kind, check_known, check_options
from graphprune.evaluate.anchors import made_anchors
from graphprune.evaluate.at_radius import accuracy_text
from graphprune.evaluate.estimates import parse_estimate
from graphprune.evaluate.option import one_of, option_of
from graphprune.evaluate.reading import read_record
from graphprune.evaluate.results import Job, Outcome
from graphprune.evaluate.run import Watch
from graphprune.evaluate.run import evaluate as run_evaluate
from graphprune.evaluate.settings import METRICS, Settings
from graphprune.ir import A_NETWORK, Network
from graphprune.ir.query import Target
from graphprune.number_text import number_text
from graphprune.region import Anchor, Domain
from graphprune.region.arrays import as_array
from graphprune.runtime.original import as_asked
from graphprune.runtime.provider import Provider
from graphprune.threats import ThreatLike

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import ArrayLike


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A table: one row per point, a column per number.

    ``len(table)`` is the number of rows, ``table["d_rob"]`` a column, iterating yields rows.

    Attributes
    ----------
    rows
        Dictionaries with the same keys: ``index``, ``label``, ``predicted``, ``status``, and those
        of the metrics that were asked for.
    document
        All of it, as ``--json`` writes it.
    points
        Per row, the closest adversarial point known, or None.
    """

    rows: tuple[dict[str, Any], ...]
    document: dict[str, Any]
    points: tuple["np.ndarray[Any, Any] | None", ...]

    @property
    def columns(self) -> list[str]:
        """The names of the columns."""
        return list(self.rows[0]) if self.rows else []

    @property
    def summary(self) -> dict[str, Any]:
        """Counts, means, medians, and accuracies at the radius asked for."""
        return dict(self.document["summary"])

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)

    def __getitem__(self, column: str) -> list[Any]:
        check_known("column", column, self.columns)
        return [row[column] for row in self.rows]

    def to_pandas(self) -> "pd.DataFrame":
        """The table as a pandas DataFrame, with ``index`` as its index.

        Raises
        ------
        GraphpruneError
            pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError:
            raise GraphpruneError("to_pandas needs pandas: pip install pandas") from None
        return pd.DataFrame(list(self.rows), columns=self.columns).set_index("index")

    def __repr__(self) -> str:
        s = self.summary
        counts = [f"{s['anchors']} points", f"{s['ok']} ok"]
        counts += [
            f"{s[k]} {k}" for k in ("exact", "misclassified", "skipped", "error") if s.get(k)
        ]
        means = [f"mean {name} {number_text(value)}" for name, value in s["mean"].items()]
        at = [accuracy_text(s["at_radius"])] if "at_radius" in s else []
        return f"Evaluation({', '.join([*counts, *means, *at])}, {s['seconds']:.1f} s)"

    def _repr_html_(self) -> str:
        """Show the table in a notebook."""
        return Outcome([self.document], [], interrupted=False)._repr_html_()


class EvaluateSettings(TypedDict, total=False):
    """Settings of `evaluate`, as :class:`~graphprune.evaluate.settings.Settings` documents them."""

    metrics: tuple[str, ...]
    method: Method
    attack: AttackMethod
    effort: Effort
    seed: int
    norm: str
    radius: float | None
    gap: float | None
    solver: str
    time_limit: float | None
    estimates: tuple[str, ...]
    domain: Domain
    target: Target
    top_k: int
    margin: float
    threshold: float | None
    threat: ThreatLike | None
    threads: int
    provider: Provider
    workers: int
    memory: float


def evaluate(
    network: Network,
    x: "ArrayLike | Sequence[Anchor]",
    y: "ArrayLike | None" = None,
    *,
    run_dir: str | Path | None = None,
    watch: Watch | None = None,
    **settings: Unpack[EvaluateSettings],
) -> Evaluation:
    """Compute d_adv, d_rob, d_bnd and estimates of many points.

    Parameters
    ----------
    network
        With two classes or more, or with one output, which `threshold` makes two.
    x
        ``(N, *sample)`` points: whatever NumPy makes an array of, PyTorch tensors too. Bytes and
        other integers are read as in files: divided by 255 for a domain within [0, 1]. Or a list
        of anchors, as `load_anchors` returns it.
    y
        (N,) labels; without them the network's own predictions are the labels.
    run_dir
        Folder that keeps what is finished; the same call again goes on where it stopped.
    watch
        Hears how the run goes.
    settings
        ``metrics``, of ``"adv"``, ``"rob"``, ``"bnd"`` (all of them unless given); and ``domain``,
        ``norm``, ``radius``, ``target`` (a class, or several), ``top_k``, ``margin``,
        ``threshold``, ``threat`` (a text as ``"mask{box=8+8+5+5}"``), ``method``, ``effort``,
        ``solver``, ``estimates``, ``time_limit`` (seconds per point and metric), ``seed``,
        ``workers``, ``threads``, ``memory``, ``provider``.

    Returns
    -------
    Evaluation
        A table; :meth:`Evaluation.to_pandas` makes a DataFrame of it.

    Raises
    ------
    GraphpruneError
        A setting is unknown, out of range, or does not fit the network.
    AnchorError
        A point does not fit the network, or lies outside the domain.

    Notes
    -----
    Ctrl-C ends the run; the table then has what is finished, and the rows of points that were not
    finished say ``interrupted``.
    """
    check_options("evaluate", settings, EvaluateSettings.__annotations__)
    check_kind(network, Network, A_NETWORK)
    chosen = _settings_of(settings)
    network = chosen.prepared(as_classifier(network, chosen.threshold))
    anchors = _anchors_of(network, x, y, chosen.domain)
    chosen.check_anchors(anchors)
    outcome = run_evaluate([Job(network, anchors)], chosen, run_dir=run_dir, watch=watch)
    if outcome.failure is not None:
        raise outcome.failure
    return _table_of(outcome)


def _anchors_of(
    network: Network, x: "ArrayLike | Sequence[Anchor]", y: "ArrayLike | None", domain: Domain
) -> list[Anchor]:
    """Anchors of arrays, or those that are given, under their own numbers where these differ."""
    if not isinstance(x, list | tuple) or not any(isinstance(part, Anchor) for part in x):
        return made_anchors(as_array(x), None if y is None else as_array(y), network, domain, "x")
    given = [as_asked(network, part, domain) for part in x if isinstance(part, Anchor)]
    if y is not None or len(given) < len(x):
        raise AnchorError("x: anchors have their labels themselves: give no y, and anchors alone")
    if len({anchor.x.shape for anchor in given}) > 1:
        raise AnchorError("x: the anchors' points have different shapes")
    points, labels = np.stack([a.x for a in given]), np.array([a.label for a in given])
    made = made_anchors(points, labels, network, domain, "x")
    if len({anchor.index for anchor in given}) < len(given):
        return made
    return [replace(new, index=old.index) for new, old in zip(made, given, strict=True)]


def _settings_of(given: EvaluateSettings) -> Settings:
    """The settings of a call, each within its choices and limits as on the command line."""
    values: dict[str, Any] = dict(given)
    for name in ("metrics", "estimates"):
        if isinstance(values.get(name), str):
            values[name] = (values[name],)
        elif name in values:
            values[name] = tuple(values[name])
    metrics = values.get("metrics", METRICS)
    if not metrics:
        raise GraphpruneError(f"metrics: none is asked for; known: {', '.join(METRICS)}")
    for metric in metrics:
        check_known("metric", metric, METRICS)
    for spec in values.get("estimates", ()):
        parse_estimate(spec)
    for declared in fields(Settings):
        if declared.name in values and "option" in declared.metadata:
            values[declared.name] = option_of(declared).checked(
                values[declared.name], declared.name
            )
    if not isinstance(values.get("domain", Domain()), Domain):
        raise GraphpruneError(f"domain must be a gp.Domain(low, high), not {values['domain']!r}")
    one_of("attack", values.get("attack", Settings.attack), get_args(AttackMethod))
    return Settings(**values)


def _table_of(outcome: Outcome) -> Evaluation:
    (document,) = outcome.documents
    records = [read_record(record).flat for record in document["anchors"]]
    asked = tuple(f"d_{metric}" for metric in document["settings"]["metrics"])
    order = dict.fromkeys(name for row in records for name in row)
    # Notes that no row has, and metrics that were not asked for, are no columns; a metric asked for
    # has all of its own, whatever rows found.
    names = [
        name for name in order
        if name.startswith(asked) or any(row.get(name) is not None for row in records)
    ]  # fmt: skip
    rows = tuple({name: row.get(name) for name in names} for row in records)
    nearest: dict[int, Any] = {}
    for _, index, _, witness in outcome.keyed_points:
        if index not in nearest or witness.distance < nearest[index].distance:
            nearest[index] = witness
    points = tuple(nearest[r["index"]].x if r["index"] in nearest else None for r in records)
    return Evaluation(rows, document, points)
