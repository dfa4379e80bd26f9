"""Certificates of a run: proofs of every d_bnd in the form that ``graphprune check`` verifies."""

import logging
from dataclasses import replace
from time import monotonic

import numpy as np
from numpy.typing import NDArray

from graphprune.attacks.confirm import Witness, told
from graphprune.backends.certificate import BallQuery, UnboundedError, UnprovenError, prove_ball
from graphprune.backends.protocol import is_exact
from graphprune.check import Prefix, Proof, ProofFile, parse_model, read_model
from graphprune.check.steps import Model
from graphprune.errors import GraphpruneError, UnsupportedError
from graphprune.evaluate.distance import Distance
from graphprune.evaluate.results import Job, Outcome, ProvenDistance
from graphprune.evaluate.settings import Settings
from graphprune.evaluate.warm import warm_proofs
from graphprune.ir import Network, Query
from graphprune.ir.front import Entry
from graphprune.ir.network import size
from graphprune.region import Anchor, Domain
from graphprune.runtime.resources import Resources
from graphprune.threats.fronts import AlongDirections, PerElement

log = logging.getLogger("graphprune")

# Radii that are tried where one cannot be proven in time, as shares of it.
SHARES = (1.0, 0.9, 0.8, 0.65, 0.5, 0.25, 0.05, 0.005)
# A lower bound is proven a hair below what the search found.
HAIR = 1e-6
# Directions that only the domain ends have this as their ends.
FAR = 1e300


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


def prove(query: Query, found: Distance, resources: Resources) -> ProvenDistance:
    """Prove a distance: the result has the lower bound that the proof shows.

    It is a proof of less where `found.lower` cannot be proven until the deadline.
    """
    start = monotonic()
    warm_proofs(resources.progress, query.norm)
    # Compiling does not count.
    start, waited = monotonic(), monotonic() - start
    resources = replace(resources, deadline=resources.deadline + waited)
    anchor, wanted = query.anchor, _wanted(found)
    question = _question(query, wanted)
    proof = question.proof
    if found.witness is not None and found.upper is not None:
        proof = _with_point(proof, query, found.witness, found.upper)
    sizes = tuple(size(activation.outputs[0]) for activation in query.network.activations)
    trace = found.trace if sizes == tuple(question.asked.model.relus) else None
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


def _question(query: Query, radius: float) -> BallQuery:
    """The claim that nothing is adversarial within a radius, as the checker reads it."""
    plain = query.network if query.plain is None else query.plain
    model = plain.cached("checker model", lambda: _in_memory(plain))
    anchor, entry = query.anchor, query.network.source.entry
    numbers: dict[str, NDArray[np.float64]] = {}
    x, domain = anchor.x, query.domain
    if entry is not None and isinstance(entry.front, PerElement | AlongDirections):
        front, entry = entry.front, entry.behind.source.entry
        numbers |= front.numbers
        if front.mixes:
            lower, upper = domain.box(front.shape)
            # Files hold no infinite numbers.
            numbers |= {"low": np.maximum(lower, -FAR), "high": np.minimum(upper, FAR)}
        x, domain = front.anchor, front.domain
    if entry is not None:
        numbers |= entry.front.numbers
    (low, high), fixed = _ends(domain, x.shape)
    counting = None if query.target is None or query.top_k > 1 else query.targets.astype(np.int32)
    return BallQuery(
        model, x, anchor.label, radius, low, high, fixed,
        None if query.norm.separable else str(query.norm), Prefix(**numbers) if numbers else None,
        counting, query.top_k if query.top_k > 1 else None, anchor.index,
    )  # fmt: skip


def _with_point(proof: Proof, query: Query, witness: Witness, upper: float) -> Proof:
    """A proof with its adversarial point: of directions their variables, and the input."""
    shown, front = told(query, witness), proof.front
    x = shown.x.astype(query.network.source.dtype)
    if front is not None and front.steps is not None:
        front, x = replace(front, image=x), witness.x.astype(np.float64)
    return replace(proof, upper=upper, target=shown.target, point=x, front=front)


def _ends(
    domain: Domain, shape: tuple[int, ...]
) -> tuple[tuple[float, float], NDArray[np.int8] | None]:
    """The ends of all elements that may change; and a mask of those that may not."""
    if domain.uniform:
        return domain.interval, None
    low, high = domain.box(shape)
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
            proofs[index] = _misclassified(
                model, job.network.source.entry, anchors[index], record["predicted"]
            )
    found = tuple(proofs[index] for index in anchors if index in proofs)
    return ProofFile(model.sha256, *settings.domain.interval, found)


def _misclassified(model: Model, entry: Entry | None, anchor: Anchor, predicted: int) -> Proof:
    """The anchor itself is adversarial."""
    point = anchor.x.astype(model.dtype)
    upper = float(np.max(np.abs(point.astype(np.float64) - anchor.x.astype(np.float64))))
    front = None if entry is None else Prefix(**entry.front.numbers)
    return Proof(
        anchor.index, anchor.label, anchor.x, 0.0, upper, predicted, point, (), (), front=front
    )


def _wanted(found: Distance) -> float:
    """The radius to prove: all that exactness needs, or what was found."""
    if found.status == "robust":
        return found.lower
    if found.status == "exact" and found.upper is not None:
        tolerance = max(1e-6, 1e-4 * found.upper)
        return max(0.0, min(found.lower * (1.0 - HAIR), found.upper - 0.9 * tolerance))
    return found.lower * (1.0 - HAIR)
