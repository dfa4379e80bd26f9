"""What depends on a norm or on the ends of a domain is asked of the region, nowhere else."""

import re
from pathlib import Path

import pytest

import graphprune

ROOT = Path(graphprune.__file__).parent
# The checker of certificates is independent and keeps its own small copy.
OWN = ("region", "check")
FORBIDDEN = {
    "compares a norm by name": r"norm\s*(==|!=|in\b)|(==|!=)\s*norm\b",
    "names a norm": r"""["'](linf|l2|l1)["']""",
    "builds a ball: `Anchor.ball`, `Query.ball`, `shrunk`": r"\bBall\(",
    "reads ends as if they were numbers": r"domain\.(low|high)\b",
}
# A default of the command line.
ALLOWED = {("evaluate/settings.py", '"linf"')}


def sources() -> list[Path]:
    return [path for path in _walk(ROOT) if path.relative_to(ROOT).parts[0] not in OWN]


def _walk(folder: Path) -> list[Path]:
    """Python files below a folder, through links to other folders of the repository."""
    found: list[Path] = []
    for entry in sorted(folder.iterdir()):
        if entry.is_dir() and entry.name != "__pycache__":
            found += _walk(entry)
        elif entry.suffix == ".py":
            found.append(entry)
    return found


@pytest.mark.parametrize("what", FORBIDDEN)
def test_nothing_outside_the_region_knows_norms_or_ends(what: str) -> None:
    assert len(sources()) > 200
    wrong = []
    for path in sources():
        name = str(path.relative_to(ROOT))
        for number, line in enumerate(path.read_text().splitlines(), 1):
            code = line.partition("# ")[0]
            for match in re.finditer(FORBIDDEN[what], code):
                if (name, match.group()) not in ALLOWED:
                    wrong.append(f"{name}:{number}: {line.strip()}")
    assert not wrong, f"{what}:\n" + "\n".join(wrong)
