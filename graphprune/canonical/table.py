"""The README's operator table, written from the registry.

    python -m graphprune.canonical.table README.md

rewrites what stands between the two marker lines.
"""

import inspect
import sys
from pathlib import Path

from graphprune.canonical import rules
from graphprune.canonical.context import RULES, Rule
from graphprune.canonical.refusals import REASONS

BEGIN, END = "<!-- operators: begin -->", "<!-- operators: end -->"
# What happens to operators that no rule meets.
ELSEWHERE = {
    "`Softmax` `LogSoftmax`": "as the last layer: cut for the metrics, kept in written files",
    "`Concat` of 1 - s and s = `Sigmoid`(z)": "as the last layer of two classes: the softmax of"
    " (0, z), cut",
    "`ArgMax` `ZipMap` `Normalizer` `LabelEncoder` `ArrayFeatureExtractor`": "as the last layers"
    " of a classifier: cut",
    "`Constant` `ConstantOfShape` `Range` `Shape` and all others of constants": "folded in float64",
    "local functions": "inlined",
}


def table() -> str:
    """Markdown: every supported operator with its algebra, every refused one with its reason."""
    rules.install()
    families: dict[Rule, list[str]] = {}
    for name, rule in RULES.items():
        if rule.__module__.startswith(f"{rules.__name__}."):  # plugins are not ours to list
            families.setdefault(rule, []).append(name)
    rows = {" ".join(f"`{n}`" for n in sorted(names)): _algebra(r) for r, names in families.items()}
    supported = [f"| {names} | {text} |" for names, text in sorted(rows.items())]
    supported += [f"| {names} | {text} |" for names, text in ELSEWHERE.items()]
    reasons: dict[str, list[str]] = {}
    for name, text in REASONS.items():
        if name not in ("Softmax", "LogSoftmax", "ArgMax"):
            reasons.setdefault(text, []).append(name)
    refused = [
        f"| {' '.join(f'`{n}`' for n in sorted(names))} | {text} |"
        for text, names in sorted(reasons.items(), key=lambda item: sorted(item[1]))
    ]
    head = ["| operator | becomes |", "| --- | --- |"]
    tail = ["", "| refused | why, and what to do |", "| --- | --- |"]
    return "\n".join([*head, *supported, *tail, *refused])


def _algebra(rule: Rule) -> str:
    """The first paragraph of a rule's docstring, on one line."""
    return " ".join((inspect.getdoc(rule) or "").split("\n\n")[0].split()).replace("|", r"\|")


def updated(text: str) -> str:
    """`text` with the table between its markers written anew."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    readme = Path(sys.argv[1])
    readme.write_text(updated(readme.read_text()))
