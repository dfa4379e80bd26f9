"""The answer at one given radius: per anchor a verdict, over all of them accuracies."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal, get_args

Verdict = Literal["certified", "attacked", "undecided", "misclassified"]
Record = dict[str, Any]


def verdict(record: Record, radius: float) -> Verdict:
    """The answer that an anchor's record has for a radius.

    Returns
    -------
    Verdict
        ``certified``: proven, rounding included, that nothing in the ball is adversarial;
        ``attacked``: an adversarial point in the ball is known; ``undecided``: neither, or only by
        a solver's numerics; ``misclassified``: the anchor itself is.
    """
    if record["status"] == "misclassified":
        return "misclassified"
    adv, rob, bnd = (record.get(name, {}) for name in ("d_adv", "d_rob", "d_bnd"))
    uppers = [end for end in (adv.get("value"), bnd.get("upper")) if end is not None]
    if any(end <= radius for end in uppers):
        return "attacked"
    if bnd.get("certified", True) and (
        bnd.get("status") == "robust" or _at_least(bnd.get("lower"), radius)
    ):
        return "certified"
    if rob.get("complete") or _at_least(rob.get("value"), radius):
        return "certified"
    return "undecided"


def _at_least(lower: float | None, radius: float) -> bool:
    """True where a lower end is there, and reaches the radius."""
    return lower is not None and lower >= radius


def accuracy(records: Sequence[Record], radius: float, metrics: Sequence[str]) -> Record:
    """Counts of verdicts, and the accuracies between which the robust accuracy at a radius lies.

    Parameters
    ----------
    records
        Those without a verdict, of anchors that were skipped, do not count.
    metrics
        The metrics that were asked for: without d_rob and d_bnd nothing is certified, without
        d_adv and d_bnd nothing is attacked, and the accuracy is null.

    Returns
    -------
    dict
        ``radius``; the count of every verdict; ``certified_accuracy``, the share of these anchors
        that are certified; ``attacked_accuracy``, the share that is neither attacked nor
        misclassified; ``undecided_accuracy``, the share that is undecided.
    """
    verdicts = [record["at_radius"] for record in records if "at_radius" in record]
    count: Counter[str] = Counter(verdicts)
    total = max(len(verdicts), 1)
    certified = count["certified"] / total if {"rob", "bnd"} & set(metrics) else None
    surviving = len(verdicts) - count["attacked"] - count["misclassified"]
    attacked = surviving / total if {"adv", "bnd"} & set(metrics) else None
    return {
        "radius": radius,
        **{name: count[name] for name in get_args(Verdict)},
        "certified_accuracy": certified,
        "attacked_accuracy": attacked,
        "undecided_accuracy": count["undecided"] / total,
    }


def accuracy_text(found: Record) -> str:
    """One sentence on `accuracy`."""
    names = [
        name for name in get_args(Verdict)
        if found.get(f"{name}_accuracy", found[name] or None) is not None
    ]  # fmt: skip
    counts = [f"{found[name]} {name}" for name in names]
    shares = [f"{name} accuracy {100 * share:.1f} %" for name in names
              if (share := found.get(f"{name}_accuracy")) is not None]  # fmt: skip
    return f"at radius {found['radius']:g}: {', '.join(counts)}; {', '.join(shares)}"
