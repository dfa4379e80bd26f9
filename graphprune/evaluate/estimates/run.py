"""From the text of an estimate to its result."""

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from time import monotonic

from graphprune.attacks.attack import Attack
from graphprune.errors import GraphpruneError, PipelineError, nearest
from graphprune.evaluate.estimates.base import (
    ESTIMATORS,
    EstimateQuery,
    Estimator,
    SelfLimited,
)
from graphprune.evaluate.estimates.substitute import Substituted
from graphprune.evaluate.results import Answer, EstimateResult, Failure
from graphprune.evaluate.settings import Metric, Settings
from graphprune.ir import Query
from graphprune.option_text import build, split
from graphprune.pipeline import Pipeline
from graphprune.pipeline.text import known_passes
from graphprune.progress import Progress, quiet


def known_estimators() -> Mapping[str, type[Estimator]]:
    """Every registered estimator by name: the files of this package, then third-party ones."""
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        importlib.import_module(f"graphprune.evaluate.estimates.{module.name}")
    return ESTIMATORS.known()


def parse_estimate(spec: str) -> Estimator:
    """The estimator of a text.

    Raises
    ------
    PipelineError
        Neither an estimator nor a pipeline.
    """
    parts = split(spec)
    estimators = known_estimators()
    known = [name for name, _ in parts if name in estimators]
    if known and len(parts) > 1:
        raise PipelineError(f"estimate '{spec}': '{known[0]}' is no pass and stands alone")
    if known:
        return build(estimators[known[0]], known[0], parts[0][1])
    for name, _ in parts:
        if name not in known_passes():
            every = [*estimators, *known_passes()]
            raise PipelineError(f"unknown estimate or pass '{name}'{nearest(name, every)}")
    return Substituted(Pipeline.parse(spec))


def estimated(spec: str) -> tuple[Metric, ...]:
    """The metrics that an estimate estimates."""
    return parse_estimate(spec).metrics


def longest(settings: Settings) -> float:
    """Seconds that a task may take: some estimators have a limit of their own."""
    every = map(parse_estimate, settings.estimates)
    return max([settings.limit, *(e.seconds for e in every if isinstance(e, SelfLimited))])


def estimate(
    query: Query,
    settings: Settings,
    spec: str,
    metric: Metric,
    found: Attack,
    progress: Progress = quiet,
) -> EstimateResult:
    """Estimate a metric; errors are recorded, not raised.

    Parameters
    ----------
    spec
        A rewrite pipeline, or an estimator with its options.
    found
        The attack on the network.
    """
    start = monotonic()
    attacked = True
    answer: Answer | Failure
    try:
        estimator = parse_estimate(spec)
        if metric not in estimator.metrics:
            known = ", ".join(m.key for m in estimator.metrics)
            raise GraphpruneError(f"estimate '{spec}' is one of {known}, not of {metric.key}")
        resources = replace(settings.resources(progress), deadline=start + settings.limit)
        answer = estimator.run(EstimateQuery(query, metric, settings, found, resources))
        attacked = answer.attacked
    except GraphpruneError as error:
        answer = Failure(str(error))
    seconds = monotonic() - start + (found.seconds if attacked else 0.0)
    return EstimateResult(spec, metric, answer, seconds)
