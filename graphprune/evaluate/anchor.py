"""Metrics and estimates of one anchor as the JSON of the public contract."""

from typing import Any

from graphprune.attacks.attack import Attack
from graphprune.attacks.confirm import Witness
from graphprune.bounds.certify import Certificate
from graphprune.evaluate.distance import Distance

Record = dict[str, Any]
Points = list[tuple[str, Witness]]


def attack_json(found: Attack) -> Record:
    target = None if found.witness is None else found.witness.target
    return {"value": found.distance, "target": target, "seconds": found.seconds}


def certificate_json(proof: Certificate) -> Record:
    return {
        "value": proof.radius,
        "method": proof.method,
        "complete": proof.complete,
        "stopped": proof.stopped,
        "seconds": proof.seconds,
    }


def distance_json(result: Distance) -> Record:
    return {
        "lower": result.lower,
        "upper": result.upper,
        "status": result.status,
        "target": None if result.witness is None else result.witness.target,
        "certified": result.certified,
        "nodes": result.nodes,
        "seconds": result.seconds,
    }
