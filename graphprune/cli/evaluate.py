"""``evaluate``, and ``attack``, ``certify``, ``distance``: the same machinery for one metric."""

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Any

import typer

from graphprune.cli import options as o
from graphprune.cli.progress import Events, Live
from graphprune.errors import GraphpruneError

EXAMPLES = """

Examples:

  graphprune evaluate model.onnx --anchors images.npz --time-limit 60 --json results.json

  graphprune evaluate a.onnx b.onnx --anchors images.npz --metrics adv,rob --limit 10

  graphprune evaluate model.onnx --anchors images.npz --estimate "prune-constant{gamma=0.75}" \
--estimate "linearize-secant{layers=2}" --out runs/first
"""


Model = Annotated[str, typer.Argument(metavar="MODEL", help="ONNX file.")]
# Parameters of `evaluate` that are about several models or metrics.
MANY = ("models", "metrics", "estimate", "sound")


@dataclass(frozen=True)
class Request:
    """A command line, checked."""

    models: list[str]
    anchors: list[str]
    labels: str | None
    settings: Any
    limit: int | None
    indices: list[int] | None
    out: str | None
    new: bool
    json: str | None
    json_lines: bool
    html: str | None
    points: str | None
    certificate: str | None
    scheduler: str | None
    memory: float | None
    quiet: bool


def _settings(
    metrics: str, method: str, effort: str, norm: str, solver: str, radius: float | None, seed: int,
    time_limit: float | None, estimates: list[str] | None, domain: str, threads: int,
    provider: str, workers: int, output: str | None, memory: float,
) -> Any:  # fmt: skip
    from graphprune.backends.choose import SOLVERS
    from graphprune.bounds import METHODS
    from graphprune.evaluate.estimates import parse_estimate
    from graphprune.evaluate.settings import METRICS, Settings
    from graphprune.region import NORMS, Domain, norm_of

    chosen = tuple(dict.fromkeys(part.strip() for part in metrics.split(",") if part.strip()))
    for metric in chosen or ("",):
        o.one_of("--metrics", metric, METRICS)
    for spec in estimates or []:
        known = parse_estimate(spec).metrics
        if not set(known) & set(chosen):  # a configuration file may ask for more than a command
            print(
                f"graphprune: '{spec}' is left out: it estimates {' and '.join(known)},"
                f" and --metrics is {metrics}", file=sys.stderr,
            )  # fmt: skip
    return Settings(
        metrics=chosen,
        method=o.one_of("--method", method, METHODS),  # type: ignore[arg-type]
        effort=o.one_of("--effort", effort, ("fast", "standard", "thorough")),  # type: ignore[arg-type]
        norm=norm_of(o.one_of("--norm", norm, tuple(NORMS))),
        seed=seed,
        radius=o.positive("--radius", radius),
        solver=o.one_of("--solver", solver, SOLVERS),  # type: ignore[arg-type]
        time_limit=o.positive("--time-limit", time_limit, zero=True),
        estimates=tuple(estimates or ()),
        domain=Domain(*o.parse_domain(domain)),
        threads=threads,
        provider=o.one_of("--provider", provider, ("auto", "cpu", "cuda")),  # type: ignore[arg-type]
        workers=workers,
        output=output,
        memory=o.finite("--memory", memory),
    )


def execute(request: Request) -> int:
    """Run a request: table to stdout, progress to stderr, files written; the exit code."""
    from graphprune.canonical import load
    from graphprune.evaluate import run
    from graphprune.evaluate.documents import as_json, check_writable, write_json
    from graphprune.evaluate.points import save_points

    if request.scheduler is not None and (request.settings.workers > 1 or request.memory):
        raise GraphpruneError(
            "--scheduler has workers of its own: --workers and --worker-memory are for this machine"
        )
    printed = request.json == "-"
    if printed and request.json_lines:
        raise GraphpruneError("--json - and --json-lines both print: give --json a file")
    written = None if printed else request.json
    for path in (written, request.html, request.points, request.certificate):
        if path is not None:
            check_writable(path)
    memory = None
    if request.memory is not None:
        memory = int(o.finite("--worker-memory", request.memory) * 2**30)
    networks = (load(model, output=request.settings.output) for model in request.models)
    jobs = [run.Job(network, _anchors(request, network)) for network in networks]
    proving = None if request.certificate is None else _checkable(request, jobs)
    settings = replace(request.settings, certificate=proving is not None)
    watch = Events() if request.json_lines else Live(quiet=request.quiet)
    with watch:
        outcome = run.evaluate(
            jobs, settings, run_dir=request.out, new=request.new,
            scheduler=request.scheduler, memory=memory, watch=watch,
        )  # fmt: skip
        if proving is not None and request.certificate is not None:
            _write_proofs(request.certificate, proving, jobs[0], outcome, settings)
    if written is not None:
        write_json(written, outcome.documents)
    if request.points is not None:
        save_points(request.points, outcome.keyed_points)
    if request.html is not None:
        from graphprune.evaluate.archive import of_outcome
        from graphprune.report.page import write_report

        write_report(of_outcome(jobs, outcome), request.html)
    # Last: whoever reads it may stop.
    if isinstance(watch, Events):
        summaries = [document["summary"] for document in outcome.documents]
        watch.end(summaries=summaries, interrupted=outcome.interrupted)
    elif printed:
        sys.stdout.write(as_json(outcome.documents))
    elif not request.quiet:
        for document in outcome.documents:
            _print(document)
    if outcome.failure is not None:
        raise outcome.failure
    if outcome.interrupted:
        print("graphprune: interrupted; everything finished is kept", file=sys.stderr)
        return 130
    return int(outcome.incomplete)


def _checkable(request: Request, jobs: list[Any]) -> Any:
    """The model as the checker reads it: known before the search whether it can be certified."""
    from graphprune.evaluate.proofs import checkable

    if len(jobs) != 1 or "bnd" not in request.settings.metrics:
        raise GraphpruneError("--certificate proves d_bnd of one model")
    return checkable(jobs[0].network)


def _write_proofs(path: str, model: Any, job: Any, outcome: Any, settings: Any) -> None:
    """Write the certificate of a run."""
    from graphprune.check import write
    from graphprune.evaluate.proofs import proof_file
    from graphprune.ir.export import write_bytes

    write_bytes(path, write(proof_file(model, job, outcome, settings)))


def _anchors(request: Request, network: Any) -> list[Any]:
    """The anchors that a request asks about."""
    from graphprune.errors import AnchorError
    from graphprune.evaluate.anchors import load_anchors

    source: Any = request.anchors[0] if len(request.anchors) == 1 else request.anchors
    found = load_anchors(source, network, labels=request.labels, domain=request.settings.domain)
    if request.indices is not None:
        wrong = [i for i in request.indices if not 0 <= i < len(found)]
        if wrong:
            raise AnchorError(f"--index {wrong[0]}: the file has anchors 0 to {len(found) - 1}")
        found = [found[i] for i in dict.fromkeys(request.indices)]
    return found[: request.limit]


def _print(document: dict[str, Any]) -> None:
    from rich.console import Console

    from graphprune.report.table import causes, results_table, summary_line

    # Piped output is never cut to a terminal's width.
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(results_table(document))
    for line in causes(document):
        console.print(line, highlight=False, markup=False)
    console.print(summary_line(document), highlight=False)


def evaluate(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help="ONNX files.")],
    anchors: o.Anchors,
    metrics: Annotated[str, typer.Option(help="Of adv, rob, bnd.")] = "adv,rob,bnd",
    estimate: Annotated[
        list[str] | None,
        typer.Option(
            help="auto, extrapolate, nearest, re-anchored, sound, milp, or a rewrite pipeline;"
            " repeatable."
        ),
    ] = None,
    sound: Annotated[
        bool, typer.Option("--sound", help="Also a proven interval of d_bnd by substitutes.")
    ] = False,
    method: o.Method = "crown", effort: o.Effort = "standard", solver: o.Solver = "auto",
    norm: o.Norm = "linf", radius: o.Radius = None, labels: o.Labels = None,
    domain: o.Domain = "0,1", limit: o.Limit = None, index: o.Index = None, seed: o.Seed = 0,
    time_limit: o.TimeLimit = None, threads: o.Threads = 1, workers: o.Workers = 1,
    provider: o.Provider = "auto", output: o.ScoreOutput = None, scheduler: o.Scheduler = None,
    memory: o.Memory = 2.0, worker_memory: o.WorkerMemory = None, out: o.Out = None,
    new: o.New = False,
    json: o.Json = None, json_lines: o.JsonLines = False, html: o.Html = None,
    save_points: o.SavePoints = None, certificate: o.Certificate = None,
    quiet: o.Quiet = False, verbose: o.Verbose = False,
) -> int:  # fmt: skip
    """d_adv, d_rob, d_bnd and estimates of every anchor."""
    o.be_verbose(verbose)
    settings = _settings(
        metrics, method, effort, norm, solver, radius, seed, time_limit,
        [*(estimate or []), *(["sound"] if sound else [])], domain,
        threads, provider, workers, output, memory,
    )  # fmt: skip
    return execute(
        Request(models, anchors, labels, settings, limit, o.parse_indices(index), out,
                new, json, json_lines, html, save_points, certificate, scheduler,
                worker_memory, quiet)
    )  # fmt: skip


def _sister(metric: str) -> Callable[..., int]:
    """`evaluate` for one metric of one model; options of other metrics change nothing then."""

    def command(model: str, **options: Any) -> int:
        return evaluate([model], metrics=metric, **options)

    own = inspect.signature(evaluate)
    kept = [p for p in own.parameters.values() if p.name not in MANY]
    first = inspect.Parameter("model", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Model)
    # What Typer reads: names, annotations and defaults.
    command.__signature__ = own.replace(parameters=[first, *kept])  # type: ignore[attr-defined]
    command.__annotations__ = {p.name: p.annotation for p in (first, *kept)}
    return command


def register(app: typer.Typer) -> None:
    """Add the four commands."""
    app.command(epilog=EXAMPLES)(evaluate)
    for name, metric, text in (
        ("attack", "adv", "d_adv: the closest adversarial point an attack finds."),
        ("certify", "rob", "d_rob: the largest radius that a linear relaxation certifies."),
        ("distance", "bnd", "d_bnd: the exact distance to the decision boundary."),
    ):
        app.command(name, help=text)(_sister(metric))
