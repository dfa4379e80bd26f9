"""The tables of ``docs/operators.md``, written from the registries.

    python -m graphprune.canonical.table docs/operators.md

rewrites the lines between the markers of each table.
"""

import inspect
import sys
from pathlib import Path

from graphprune.canonical import rules
from graphprune.canonical.context import RULES, Rule
from graphprune.canonical.increasing import INCREASING
from graphprune.canonical.refusals import REASONS
from graphprune.canonical.unrolled import UNROLLED, install
from graphprune.ir.network import Activation
from graphprune.operators import REGISTRY

BEGIN, END = "<!-- {}: begin -->", "<!-- {}: end -->"
# The treatment of operators that no rule meets.
ELSEWHERE = {
    "`Softmax` `LogSoftmax`": "as the last layer: cut for the metrics, kept in written files",
    "`Concat` of 1 - s and s = `Sigmoid`(z)": "as the last layer of two classes: the softmax of"
    " (0, z), cut",
    "`ai.onnx.ml::LinearClassifier` `ai.onnx.ml::LinearRegressor`": "x W + b, and its Softmax or"
    " Sigmoid (post_transform) as the last layer: cut for the metrics",
    "`ArgMax` `ZipMap` `Normalizer` `LabelEncoder` `ArrayFeatureExtractor`": "as the last layers"
    " of a classifier: cut",
    "`Constant` `ConstantOfShape` `Range` `Shape` `Size` and all others of constants": "folded in"
    " float64",
    "local functions": "inlined",
    "`Attention`": "written out as ONNX defines it: MatMul, Softmax, masks",
}

ABOVE = (
    "where it increases, as the last layer: cut for the metrics, kept in written files; thresholds"
    " of properties go through its inverse"
)


def supported() -> str:
    """Every ONNX operator that a rule lowers, with the rule's algebra."""
    rules.install()
    families: dict[Rule, list[str]] = {}
    for name, rule in RULES.items():
        if _ours(rule):
            families.setdefault(rule, []).append(name)
    install()
    found = sorted(
        [
            *((_names(names), _algebra(rule)) for rule, names in families.items()),
            *((f"`{name}`", _algebra(unroll)) for name, unroll in UNROLLED.items()),
        ]
    )
    above = (_names(list(INCREASING)), ABOVE)
    return _table("operator", "becomes", [*found, above, *ELSEWHERE.items()])


def refused() -> str:
    """Every ONNX operator that is refused, with the reason and the remedy."""
    reasons: dict[str, list[str]] = {}
    for name, text in REASONS.items():
        if name not in ("Softmax", "LogSoftmax"):
            reasons.setdefault(text, []).append(name)
    found = sorted((sorted(names), text) for text, names in reasons.items())
    return _table("refused", "why, and the remedy", [(_names(n), text) for n, text in found])


def affine() -> str:
    """The affine operators of the dialect, with their algebra."""
    found = {name: cls for name, cls in REGISTRY.items() if _ours(cls)}
    return _table(
        "affine operator",
        "value",
        [(f"`{n}`", _algebra(c)) for n, c in sorted(found.items()) if not _scalar(c)],
    )


def functions() -> str:
    """The scalar functions of the dialect, with their algebra."""
    found = {name: cls for name, cls in REGISTRY.items() if _ours(cls)}
    return _table(
        "function",
        "value",
        [(f"`{n}`", _algebra(c)) for n, c in sorted(found.items()) if _scalar(c)],
    )


TABLES = (supported, refused, affine, functions)


def _ours(item: object) -> bool:
    """True of what this package registers: plugins are not ours to list."""
    return getattr(item, "__module__", "").startswith("graphprune.")


def _scalar(cls: type) -> bool:
    return isinstance(cls, type) and all(
        hasattr(cls, name) for name in vars(Activation) if not name.startswith("_")
    )


def _names(names: list[str]) -> str:
    return " ".join(f"`{name}`" for name in sorted(names))


def _table(left: str, right: str, rows: list[tuple[str, str]]) -> str:
    head = [f"| {left} | {right} |", "| --- | --- |"]
    return "\n".join([*head, *(f"| {first} | {second} |" for first, second in rows)])


def _algebra(item: object) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join((inspect.getdoc(item) or "").split("\n\n")[0].split()).replace("|", r"\|")


def updated(text: str) -> str:
    """`text` with each table between its markers written anew."""
    for made in TABLES:
        begin, end = BEGIN.format(made.__name__), END.format(made.__name__)
        before, rest = text.split(begin)
        text = f"{before}{begin}\n{made()}\n{end}{rest.split(end)[1]}"
    return text


if __name__ == "__main__":
    page = Path(sys.argv[1])
    page.write_text(updated(page.read_text(encoding="utf-8")), encoding="utf-8")
