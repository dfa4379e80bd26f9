"""Options that commands share, and what their texts mean."""

from math import inf, isfinite
from typing import Annotated

import typer

from graphprune.errors import GraphpruneError

Anchors = Annotated[
    list[str],
    typer.Option(
        "--anchors",
        help="Points: .npz, .npy, IDX, .csv, a folder of PNG (repeat for PNG files). Whole"
        " numbers are divided by 255 for a domain within [0, 1], kept for one that ends above 1.",
    ),
]
OptionalAnchors = Annotated[
    list[str] | None, typer.Option("--anchors", help="Points: .npz, .npy, IDX, .csv or PNG.")
]
Labels = Annotated[str | None, typer.Option("--labels", help="Labels: .npy or IDX.")]
Domain = Annotated[str, typer.Option("--domain", help="Box of every input element, or none.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Only the first N anchors.")]
Index = Annotated[str | None, typer.Option("--index", help="Only these anchors: I,J,K.")]
Method = Annotated[
    str,
    typer.Option("--method", help="Bounds for d_rob: ibp|fastlin|fastlin-ibp|crown|alpha-crown."),
]
Effort = Annotated[str, typer.Option("--effort", help="Attack: fast|standard|thorough.")]
Norm = Annotated[str, typer.Option("--norm", help="Of the distance: linf|l2|l1 (d_bnd: linf).")]
Radius = Annotated[
    float | None, typer.Option("--radius", help="d_bnd only if it is below this radius.")
]
Seed = Annotated[int, typer.Option("--seed", help="Of random starts.")]
TimeLimit = Annotated[
    float | None,
    typer.Option("--time-limit", "--timeout", help="Seconds per anchor and metric."),
]
Threads = Annotated[int, typer.Option("--threads", min=1, help="Per worker.")]
Workers = Annotated[
    int, typer.Option("--workers", min=1, help="Processes: for tasks, or for the search of few.")
]
Memory = Annotated[
    float,
    typer.Option(
        "--memory", help="GiB that a task's bounds, search or SCIP may take.", metavar="GIB"
    ),
]
Provider = Annotated[str, typer.Option("--provider", help="auto|cpu|cuda.")]
Solver = Annotated[str, typer.Option("--solver", help="For d_bnd: auto|search|scip.")]
ScoreOutput = Annotated[
    str | None,
    typer.Option(
        "--output", metavar="NAME", help="Output with the scores; default: the only float one."
    ),
]
Out = Annotated[
    str | None,
    typer.Option("--out", help="Run directory; the same command again goes on where it stopped."),
]
New = Annotated[bool, typer.Option("--new", help="Set the run in --out aside; start again.")]
Scheduler = Annotated[
    str | None, typer.Option("--scheduler", help="Dask scheduler whose workers do the tasks.")
]
WorkerMemory = Annotated[
    float | None,
    typer.Option("--worker-memory", min=0.5, help="GiB each worker process may use."),
]
JsonLines = Annotated[
    bool, typer.Option("--json-lines", help="Events on stdout, one JSON object a line.")
]
Html = Annotated[str | None, typer.Option("--html", help="Write the report here.")]
Json = Annotated[
    str | None, typer.Option("--json", help="Write the results here; -: print them, no table.")
]
SavePoints = Annotated[
    str | None, typer.Option("--save-points", help="Write the adversarial points here (.npz).")
]
Certificate = Annotated[
    str | None,
    typer.Option("--certificate", help="Write proofs of d_bnd here, for graphprune check."),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress, no table.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Say more, tracebacks too.")]


def parse_domain(text: str) -> tuple[float, float]:
    """``LO,HI`` or ``none``."""
    if text.strip().lower() == "none":
        return float("-inf"), float("inf")
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise GraphpruneError(f"--domain takes LO,HI or none, not '{text}'") from None
    if not low < high:
        raise GraphpruneError(f"--domain {text}: LO must be below HI")
    return low, high


def parse_indices(text: str | None) -> list[int] | None:
    """``I,J,K``."""
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise GraphpruneError(f"--index takes numbers as I,J,K, not '{text}'") from None


def one_of(option: str, value: str, known: tuple[str, ...]) -> str:
    """`value`, or an error naming the nearest known one."""
    from graphprune.errors import nearest

    if value not in known:
        raise GraphpruneError(f"{option}: unknown value '{value}'{nearest(value, list(known))}")
    return value


def positive(option: str, value: float | None, *, zero: bool = False) -> float | None:
    """`value`, None where it is infinite, or an error where it is not a positive number."""
    if value is None or value > 0 or (zero and value == 0):
        return None if value == inf else value
    raise GraphpruneError(f"{option} must be {'>= 0' if zero else 'positive'}, not {value}")


def finite(option: str, value: float) -> float:
    """`value`, or an error where it is not a positive finite number."""
    if value > 0 and isfinite(value):
        return value
    raise GraphpruneError(f"{option} must be a positive number, not {value}")


def be_verbose(on: bool) -> None:
    """Show what is logged: which provider is used, what was fallen back from."""
    if on:
        import logging

        logging.getLogger("graphprune").setLevel(logging.INFO)
