"""Certificates of a run: proofs of every d_bnd in the form that ``graphprune check`` verifies."""

import logging
from dataclasses import replace
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from graphprune.backends.certificate import BallQuery, UnboundedError, UnprovenError, prove_ball
from graphprune.backends.protocol import is_exact
from graphprune.check import Proof, ProofFile, parse_model, read_model
from graphprune.check.steps import Model
from graphprune.errors import GraphpruneError, UnsupportedError
from graphprune.evaluate.distance import Distance
from graphprune.evaluate.results import Job, Outcome, ProvenDistance
from graphprune.evaluate.settings import Settings
from graphprune.ir import Network, Query
from graphprune.ir.network import size
from graphprune.region import Anchor, Domain
from graphprune.runtime.resources import Resources

log = logging.getLogger("graphprune")

# Radii that are tried where one cannot be proven in time, as shares of it.
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
    if source.entry is not None:
        raise GraphpruneError("certificates are about model files, not about a threat in front")
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


def prove(query: Query, found: Distance, resources: Resources) -> ProvenDistance:
    """Prove a distance: the result has the lower bound that the proof shows.

    It is a proof of less where `found.lower` cannot be proven until the deadline.
    """
    start = monotonic()
    network, anchor, domain = query.network, query.anchor, query.domain
    model = network.cached("checker model", lambda: _in_memory(network))
    witness, wanted = found.witness, _wanted(found)
    ends, fixed = _ends(domain, anchor)
    proof = Proof(
        anchor.index, anchor.label, anchor.x, 0.0, found.upper if witness else None,
        witness.target if witness else -1, witness.x.astype(model.dtype) if witness else None,
        (), (), fixed,
    )  # fmt: skip
    question = BallQuery(model, anchor.x, anchor.label, wanted, *ends, fixed)
    sizes = tuple(size(activation.outputs[0]) for activation in network.activations)
    trace = found.trace if sizes == tuple(model.relus) else None
    shares = list(SHARES) if wanted > 0.0 else []
    while shares:
        share = shares.pop(0)
        # Half of what is left of the time for each radius but the last.
        left = resources.remaining()
        part = 0.5 * left if shares else left
        own = replace(question, radius=share * wanted)
        try:
            scopes, margins = prove_ball(
                own, trace, deadline=monotonic() + part, progress=resources.progress
            )  # fmt: skip
        except (UnprovenError, MemoryError, ArithmeticError) as reason:
            log.info("anchor %d: radius %g is not proven: %s", anchor.index, own.radius, reason)
            if isinstance(reason, UnboundedError):
                # A little less would be as much work in half of the time.
                shares = [other for other in shares if other <= 0.5 * share]
            continue
        proof = replace(proof, lower=own.radius, scopes=scopes, margins=margins)
        break
    status = found.status
    if status == "exact" and not (found.upper is not None and is_exact(proof.lower, found.upper)):
        status = "interval"
    if status == "robust" and proof.lower < found.lower:
        status = "interval"
    return ProvenDistance(
        replace(found, lower=proof.lower, status=status, certified=True, trace=None),
        monotonic() - start,
        found.lower if proof.lower < wanted else None,
        proof,
    )


def _ends(domain: Domain, anchor: Anchor) -> tuple[tuple[float, float], NDArray[np.int8] | None]:
    """The ends of all elements that may change; and a mask of those that may not."""
    if domain.uniform:
        return domain.interval, None
    low, high = domain.box(anchor.x.shape)
    moving = low < high
    ends = Domain(*(np.unique(end[moving]).squeeze().tolist() for end in (low, high))).interval
    return ends, (~moving).reshape(-1).astype(np.int8)


def _in_memory(network: Network) -> Model:
    """The model as the checker reads it, wherever its file is."""
    return parse_model(network.source.proto.SerializeToString())


def proof_file(model: Model, job: Job, outcome: Outcome, settings: Settings) -> ProofFile:
    """All proofs of a run on one network, those of misclassified anchors included.

    Parameters
    ----------
    model
        The network's file, from `checkable`.
    """
    proofs = {proof.index: proof for sha, proof in outcome.proofs if sha == model.sha256}
    anchors = {anchor.index: anchor for anchor in job.anchors}
    (run,) = outcome.documents
    for record in run["anchors"]:
        if record["status"] == "misclassified":
            index = record["index"]
            proofs[index] = _misclassified(model, anchors[index], record["predicted"])
    found = tuple(proofs[index] for index in anchors if index in proofs)
    return ProofFile(model.sha256, *settings.domain.interval, found)


def _misclassified(model: Model, anchor: Anchor, predicted: int) -> Proof:
    """The anchor itself is adversarial."""
    point = anchor.x.astype(model.dtype)
    upper = float(np.max(np.abs(point.astype(np.float64) - anchor.x.astype(np.float64))))
    return Proof(anchor.index, anchor.label, anchor.x, 0.0, upper, predicted, point, (), ())


def _wanted(found: Distance) -> float:
    """The radius to prove: all that exactness needs, or what was found."""
    if found.status == "robust":
        return found.lower
    if found.status == "exact" and found.upper is not None:
        tolerance = max(1e-6, 1e-4 * found.upper)
        return max(0.0, min(found.lower * (1.0 - HAIR), found.upper - 0.9 * tolerance))
    return found.lower * (1.0 - HAIR)
