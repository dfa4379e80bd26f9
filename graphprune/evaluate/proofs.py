"""Certificates of a run: every d_bnd proven anew in the form that ``graphprune check`` verifies."""

from dataclasses import replace
from math import inf
from time import monotonic
from typing import Any

import numpy as np

from graphprune.backends.certificate import Question, UnprovenError, prove_ball
from graphprune.backends.protocol import is_exact
from graphprune.check import Proof, ProofFile, read_model
from graphprune.check.model import Model
from graphprune.errors import GraphpruneError, UnsupportedError
from graphprune.evaluate.anchor import Record
from graphprune.evaluate.documents import document
from graphprune.evaluate.run import Job, Outcome
from graphprune.evaluate.settings import Settings
from graphprune.ir import Anchor, Network
from graphprune.passes.analysis.witness import Witness
from graphprune.progress import Progress, quiet

# What is tried where a radius cannot be proven in time, as shares of it.
SHARES = (1.0, 0.9, 0.8, 0.65, 0.5, 0.25)
# A lower bound is proven a hair below what the search found.
HAIR = 1e-6


def checkable(network: Network) -> Model:
    """The model as the checker reads it.

    Raises
    ------
    UnsupportedError
        The checker does not read such a model, or reads it differently.
    """
    source = network.source
    if source.path is None:
        raise GraphpruneError("certificates are about model files; save the model first")
    model = read_model(source.path)
    if model.sha256 != source.sha256:
        raise GraphpruneError(f"{source.path}: changed since it was loaded")
    if (model.shape, model.classes) != (network.input_shape, network.classes):
        raise UnsupportedError(
            f"{source.path}: the checker reads samples of shape {model.shape} and {model.classes}"
            f" classes, graphprune {network.input_shape} and {network.classes}"
        )
    return model


def prove_run(
    model: Model, job: Job, outcome: Outcome, settings: Settings, progress: Progress = quiet
) -> tuple[ProofFile, Outcome]:
    """Proofs of all d_bnd of a run on one network, and the run with the bounds that they prove.

    Ctrl-C ends it with the proofs finished.

    Parameters
    ----------
    model
        The network's file, from `checkable`.
    """
    (old,) = outcome.documents
    points = {index: w for _, index, metric, w in outcome.keyed_points if metric == "d_bnd"}
    anchors = {anchor.index: anchor for anchor in job.anchors}
    proofs: list[Proof] = []
    records: list[Record] = []
    interrupted = outcome.interrupted
    for found in old["anchors"]:
        record, index = found, found["index"]
        if "d_bnd" in found and found["status"] != "error" and not interrupted:
            witness = points.get(index)
            try:
                proof, record = _prove(model, anchors[index], found, witness, settings, progress)
                proofs.append(proof)
            except KeyboardInterrupt:
                interrupted = True
        records.append(record)
    new = document(job.network, settings, records, old["summary"]["seconds"])
    file = ProofFile(model.sha256, settings.domain.low, settings.domain.high, tuple(proofs))
    return file, replace(outcome, documents=[new], interrupted=interrupted)


def _prove(
    model: Model,
    anchor: Anchor,
    record: Record,
    witness: Witness | None,
    settings: Settings,
    progress: Progress,
) -> tuple[Proof, Record]:
    bound: dict[str, Any] = record["d_bnd"]
    upper, label = bound["upper"], record["label"]
    if record["status"] == "misclassified":
        point = anchor.x.astype(model.dtype)
        upper = float(np.max(np.abs(point.astype(np.float64) - anchor.x.astype(np.float64))))
        proof = Proof(
            anchor.index, label, anchor.x, 0.0, upper, record["predicted"], point, (), ()
        )  # fmt: skip
        return proof, record
    if witness is None:
        upper = None
    start = monotonic()
    wanted = _wanted(bound, upper)
    question = Question(
        model, anchor.x, label, wanted, settings.domain.low, settings.domain.high
    )  # fmt: skip
    proof = Proof(
        anchor.index, label, anchor.x, 0.0, upper, -1 if witness is None else witness.target,
        None if witness is None else witness.x.astype(model.dtype), (), (),
    )  # fmt: skip
    for share in SHARES if wanted > 0.0 else ():
        # Half of what is left of the time for each radius but the last.
        left = inf if settings.time_limit is None else start + settings.limit - monotonic()
        part = left if share == SHARES[-1] else 0.5 * left
        own = replace(question, radius=share * wanted)
        try:
            scopes, margins = prove_ball(own, deadline=monotonic() + part, progress=progress)
        except UnprovenError:
            continue
        proof = replace(proof, lower=own.radius, scopes=scopes, margins=margins)
        break
    proven = bound | {"lower": proof.lower, "certified": True, "proof_seconds": monotonic() - start}
    if bound["status"] == "exact" and not is_exact(proof.lower, bound["upper"]):
        proven["status"] = "interval"
    if bound["status"] == "robust" and proof.lower < bound["lower"]:
        proven["status"] = "interval"
    return proof, record | {"d_bnd": proven}


def _wanted(bound: dict[str, Any], upper: float | None) -> float:
    """The radius to prove: all that exactness needs, or what was found."""
    lower: float = bound["lower"]
    if bound["status"] == "robust":
        return lower
    if bound["status"] == "exact" and upper is not None:
        tolerance = max(1e-6, 1e-4 * upper)
        return max(0.0, min(lower * (1.0 - HAIR), upper - 0.9 * tolerance))
    return lower * (1.0 - HAIR)
