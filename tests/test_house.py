"""Rules of the house that no linter knows; ``python tests/test_house.py`` prints what offends."""

import ast
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ("graphprune", "passes", "backends")
# Links to two of these folders, or copies on a checkout without links.
LINKS = ("graphprune/passes/", "graphprune/backends/")
FOLDERS = (*PACKAGE, "benchmarks", "examples", "models", "tests")
FILE_LINES, FUNCTION_LINES, PARAMETERS = 500, 80, 8
OPENINGS = re.compile(r"""\s*(#\s*|r?\"{3})?(What|Of|How|Whether)\b""")
NORMS = {"linf", "l1", "l2"}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def _files(folders: tuple[str, ...]) -> Iterator[tuple[str, ast.Module]]:
    """Files below `folders` by their name from the root, each once."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if not name.startswith(LINKS):
                yield name, ast.parse(path.read_text(encoding="utf-8"))


def _functions(folders: tuple[str, ...]) -> Iterator[tuple[str, Function]]:
    for name, tree in _files(folders):
        for node in ast.walk(tree):
            if isinstance(node, Function):
                yield f"{name}:{node.name}", node


def class_names() -> Iterator[str]:
    """Names of the package's module-level classes that stand for two things."""
    classes = [
        node.name
        for _, tree in _files(PACKAGE)
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    ]
    yield from (name for name, count in Counter(classes).items() if count > 1)


def file_lengths() -> Iterator[str]:
    """Files that are too long to be read in one go."""
    for name, _ in _files(FOLDERS):
        if len((ROOT / name).read_text(encoding="utf-8").splitlines()) > FILE_LINES:
            yield name


def function_lengths() -> Iterator[str]:
    """Functions that do more than one thing."""
    for name, node in _functions(FOLDERS):
        if (node.end_lineno or node.lineno) - node.lineno + 1 > FUNCTION_LINES:
            yield name


def parameters() -> Iterator[str]:
    """Functions whose parameters want to be a value of their own."""
    for name, node in _functions(FOLDERS):
        taken = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        if sum(argument.arg not in ("self", "cls") for argument in taken) > PARAMETERS:
            yield name


def openings() -> Iterator[str]:
    """Sentences of docstrings and comments that open like a question, not with a verb or noun."""
    for name, _ in _files((*PACKAGE, "benchmarks", "examples", "models")):
        for line in (ROOT / name).read_text(encoding="utf-8").splitlines():
            if OPENINGS.match(line):
                yield f"{name}: {line.strip()}"


def norms() -> Iterator[str]:
    """Files that compare a norm by name outside the region, which answers for norms."""
    for name, tree in _files(PACKAGE):
        if not name.startswith(("graphprune/region/", "graphprune/check/")):
            compared = [n for n in ast.walk(tree) if isinstance(n, ast.Compare | ast.MatchValue)]
            names = {
                inner.value
                for node in compared
                for inner in ast.walk(node)
                if isinstance(inner, ast.Constant)
            }
            if names & NORMS:
                yield name


def packages() -> Iterator[str]:
    """Packages that do not say what comes in, what goes out, and which files to read first."""
    for name, tree in _files(PACKAGE):
        text = ast.get_docstring(tree) or ""
        if name.endswith("__init__.py") and not ("Read" in text and "first" in text):
            yield name


def named_files() -> Iterator[str]:
    """Files that documents name and that are not there (any more)."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "models").glob("*.md")]
    known = {f"/{name}" for name, _ in _files((*FOLDERS, "docs", ".ci"))}
    for page in sorted(pages):
        text = page.read_text(encoding="utf-8").replace("graphprune/backends/", "backends/")
        for name in re.findall(r"`((?!acme_)[\w./-]+\.py)`", text):
            if not any(file.endswith(f"/{name}") for file in known):
                yield f"{page.name}: {name}"


RULES: tuple[Callable[[], Iterator[str]], ...] = (
    class_names,
    file_lengths,
    function_lengths,
    parameters,
    openings,
    norms,
    packages,
    named_files,
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_nothing_offends(rule: Callable[[], Iterator[str]]) -> None:
    found = sorted(set(rule()))
    assert not found, f"{rule.__doc__}\n" + "\n".join(found)


if __name__ == "__main__":
    print("\n".join(sorted(f"{rule.__name__} {name}" for rule in RULES for name in set(rule()))))
