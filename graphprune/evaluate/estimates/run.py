"""From the text of an estimate to its record."""

from time import monotonic
from typing import Any

from graphprune.attacks.attack import Attack
from graphprune.attacks.confirm import Witness
from graphprune.errors import GraphpruneError, PipelineError, nearest
from graphprune.evaluate.estimates.auto import Auto
from graphprune.evaluate.estimates.base import Estimator, Metric, Question
from graphprune.evaluate.estimates.extrapolate import Extrapolate
from graphprune.evaluate.estimates.milp import PlainMilp
from graphprune.evaluate.estimates.nearest import Nearest
from graphprune.evaluate.estimates.reanchored import ReAnchored
from graphprune.evaluate.estimates.sound import Sound
from graphprune.evaluate.estimates.substitute import Substituted
from graphprune.evaluate.settings import Settings
from graphprune.ir import Network
from graphprune.pipeline import Pipeline
from graphprune.pipeline.text import build, known_passes, split
from graphprune.progress import Progress, quiet
from graphprune.region import Anchor

ESTIMATORS: dict[str, type[Estimator]] = {
    cls.name: cls for cls in (Auto, Extrapolate, Nearest, PlainMilp, ReAnchored, Sound)
}


def parse_estimate(spec: str) -> Estimator:
    """The estimator of a text.

    Raises
    ------
    PipelineError
        Neither an estimator nor a pipeline.
    """
    parts = split(spec)
    known = [name for name, _ in parts if name in ESTIMATORS]
    if known and len(parts) > 1:
        raise PipelineError(f"estimate '{spec}': '{known[0]}' is no pass and stands alone")
    if known:
        return build(ESTIMATORS[known[0]], known[0], parts[0][1])
    for name, _ in parts:
        if name not in known_passes():
            every = [*ESTIMATORS, *known_passes()]
            raise PipelineError(f"unknown estimate or pass '{name}'{nearest(name, every)}")
    return Substituted(Pipeline.parse(spec))


def estimated(spec: str) -> tuple[Metric, ...]:
    """The metrics that an estimate estimates."""
    return parse_estimate(spec).metrics


def longest(settings: Settings) -> float:
    """Seconds that a task may take: the plain MILP has a limit of its own."""
    own = [e.seconds for e in map(parse_estimate, settings.estimates) if isinstance(e, PlainMilp)]
    return max([settings.limit, *own])


def estimate(
    network: Network,
    anchor: Anchor,
    settings: Settings,
    spec: str,
    metric: Metric,
    found: Attack,
    progress: Progress = quiet,
) -> tuple[dict[str, Any], Witness | None]:
    """An estimate of d_`metric` as an element of the document's ``estimates``.

    Parameters
    ----------
    spec
        A rewrite pipeline, or an estimator with its options.
    found
        The attack on the network.

    Returns
    -------
    record
        Errors are recorded, not raised.
    witness
        The confirmed point behind the record's ``upper``, where there is one.
    """
    start = monotonic()
    record: dict[str, Any] = {"spec": spec, "metric": f"d_{metric}", "value": None}
    attacked, witness = True, None
    try:
        estimator = parse_estimate(spec)
        if metric not in estimator.metrics:
            known = ", ".join(f"d_{m}" for m in estimator.metrics)
            raise GraphpruneError(f"estimate '{spec}' is one of {known}, not of d_{metric}")
        question = Question(
            network, anchor, metric, settings, found, progress, start + settings.limit
        )
        answer = estimator.run(question)
        record |= answer.to_json()
        attacked, witness = answer.attacked, answer.witness
    except GraphpruneError as error:
        record |= {"lower": None, "upper": None, "status": "error", "message": str(error)}
    record["seconds"] = monotonic() - start + (found.seconds if attacked else 0.0)
    return record, witness
