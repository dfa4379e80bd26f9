"""``evaluate``, and ``attack``, ``certify``, ``distance``: the same machinery for one metric."""

import re
import sys
from collections.abc import Collection
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import typer

from graphprune.cli.options import be_verbose, parse_domain, parse_indices
from graphprune.cli.parameters import CommandParameter, add, checked, command, parameters_of
from graphprune.cli.progress import Events, Live
from graphprune.errors import GraphpruneError
from graphprune.evaluate.option import Option, again, one_of, option, option_of
from graphprune.evaluate.settings import FIX_SHAPE, METRICS, Settings

if TYPE_CHECKING:
    from graphprune.check.steps import Model
    from graphprune.evaluate.results import Job, Outcome
    from graphprune.ir import Network
    from graphprune.ir.query import Target
    from graphprune.region import Anchor

EXAMPLES = """

Examples:

  graphprune evaluate model.onnx --anchors images.npz --time-limit 60 --json results.json

  graphprune evaluate a.onnx b.onnx --anchors images.npz --metrics adv,rob --limit 10

  graphprune evaluate model.onnx --anchors images.npz --estimate "prune-constant{gamma=0.75}" \
--estimate "linearize-secant{layers=2}" --out runs/first
"""


# Options of `evaluate` that are about several models or metrics.
MANY = ("models", "metrics", "estimate", "sound")
# The one model of `attack`, `certify` and `distance`.
MODEL = CommandParameter("model", str, Option("ONNX file.", (), metavar="MODEL"))


def _estimates() -> list[str]:
    from graphprune.evaluate.estimates import known_estimators
    from graphprune.pipeline.text import known_passes

    return [*known_estimators(), *known_passes()]


@dataclass(frozen=True)
class EvaluateOptions:
    """The command line of `evaluate`."""

    models: list[str] = field(metadata=option("ONNX files.", metavar="MODEL..."))
    anchors: list[str] = field(
        metadata=option(
            "Points: .npz (x, or an array per input), .npy, IDX, .csv, a folder of PNG (repeat for"
            " PNG files). Whole"
            " numbers are divided by 255 for a domain within [0, 1], kept for one that ends"
            " above 1.",
            "--anchors",
        )
    )
    metrics: str = again(Settings, "metrics", default=",".join(METRICS))
    estimate: list[str] | None = field(
        default=None,
        metadata=option(
            "auto, extrapolate, nearest, re-anchored, sound, milp, or a rewrite pipeline;"
            " repeatable.",
            "--estimate",
            suggestions=_estimates,
        ),
    )
    sound: bool = field(
        default=False, metadata=option("Also a proven interval of d_bnd by substitutes.", "--sound")
    )
    method: str = again(Settings, "method")
    effort: str = again(Settings, "effort")
    solver: str = again(Settings, "solver")
    norm: str = again(Settings, "norm")
    radius: float | None = again(Settings, "radius")
    gap: float | None = again(Settings, "gap")
    labels: str | None = field(default=None, metadata=option("Labels: .npy or IDX.", "--labels"))
    domain: str = again(Settings, "domain", default="0,1")
    target: int | None = again(Settings, "target")
    targets: str | None = field(
        default=None,
        metadata=option(
            "Only these classes count as adversarial: I,J,K, and ranges I-K.", "--targets"
        ),
    )
    top_k: int = again(Settings, "top_k")
    margin: float = again(Settings, "margin")
    threshold: float | None = again(Settings, "threshold")
    threat: str | None = again(Settings, "threat")
    limit: int | None = field(
        default=None, metadata=option("Only the first N anchors.", "--limit", least=1)
    )
    index: str | None = field(
        default=None, metadata=option("Only these anchors: I,J,K, and ranges I-K.", "--index")
    )
    seed: int = again(Settings, "seed")
    time_limit: float | None = again(Settings, "time_limit")
    threads: int = again(Settings, "threads")
    workers: int = again(Settings, "workers")
    provider: str = again(Settings, "provider")
    output: str | None = again(Settings, "output")
    fix_shape: list[str] | None = field(default=None, metadata=FIX_SHAPE)
    scheduler: str | None = field(
        default=None, metadata=option("Dask scheduler whose workers do the tasks.", "--scheduler")
    )
    memory: float = again(Settings, "memory")
    worker_memory: float | None = field(
        default=None,
        metadata=option(
            "GiB each worker process may use.",
            "--worker-memory",
            least=0.5,
            check="finite",
            needs=("workers",),
        ),
    )
    out: str | None = field(
        default=None,
        metadata=option("Run directory; the same command again goes on where it stopped.", "--out"),
    )
    new: bool = field(
        default=False,
        metadata=option("Set the run in --out aside; start again.", "--new", needs=("out",)),
    )
    json: str | None = field(
        default=None,
        metadata=option("Write the results here; -: print them, no table.", "--json"),
    )
    json_lines: bool = field(
        default=False, metadata=option("Events on stdout, one JSON object a line.", "--json-lines")
    )
    html: str | None = field(default=None, metadata=option("Write the report here.", "--html"))
    save_points: str | None = field(
        default=None,
        metadata=option(
            "Write the adversarial points here (.npz).", "--save-points", metrics=("adv", "bnd")
        ),
    )
    save_images: str | None = field(
        default=None,
        metadata=option(
            "Write anchors and adversarial points here as PNG, where they are images.",
            "--save-images", metavar="DIR", metrics=("adv", "bnd"),
        ),
    )  # fmt: skip
    certificate: str | None = field(
        default=None,
        metadata=option(
            "Write proofs of d_bnd here, for graphprune check.", "--certificate", metrics=("bnd",)
        ),
    )
    quiet: bool = field(default=False, metadata=option("No progress, no table.", "--quiet"))
    verbose: bool = field(default=False, metadata=option("Say more, tracebacks too.", "--verbose"))


# Settings that a command line has in the same form.
SAME = {f.name for f in fields(Settings)} - {
    "metrics", "domain", "certificate", "fix_shape", "target",
}  # fmt: skip


def settings_of(options: EvaluateOptions) -> Settings:
    """The settings of a command line."""
    from graphprune.evaluate.estimates import parse_estimate
    from graphprune.region import Domain

    parts = (part.strip() for part in options.metrics.split(","))
    chosen = tuple(dict.fromkeys(part for part in parts if part))
    for metric in chosen or ("",):
        one_of("--metrics", metric, METRICS)
    estimates = (*(options.estimate or ()), *(["sound"] if options.sound else ()))
    for spec in estimates:
        known = parse_estimate(spec).metrics
        if not set(known) & set(chosen):  # a configuration file may ask for more than a command
            print(
                f"graphprune: '{spec}' is left out: it estimates {' and '.join(known)},"
                f" and --metrics is {options.metrics}", file=sys.stderr,
            )  # fmt: skip
    same = {f.name: getattr(options, f.name) for f in fields(options) if f.name in SAME}
    return Settings(
        metrics=chosen, estimates=estimates, domain=Domain(*parse_domain(options.domain)),
        certificate=options.certificate is not None, target=_target(options),
        fix_shape=tuple(options.fix_shape or ()), **same,
    )  # fmt: skip


def _target(options: EvaluateOptions) -> "Target":
    """The classes that count as adversarial."""
    if options.targets is None:
        return options.target
    if options.target is not None:
        raise GraphpruneError("--target and --targets both say which classes count: give one")
    return tuple(parse_indices(options.targets, "--targets") or ())


def _require_effect(options: EvaluateOptions, given: Collection[str]) -> None:
    """Refuse options about metrics that are not asked for; a configuration file may have them."""
    if options.estimate or options.sound:
        return  # an estimate starts from the attack, whatever it estimates
    asked = [part.strip() for part in options.metrics.split(",")]
    for declared in fields(EvaluateOptions):
        one, value = option_of(declared), getattr(options, declared.name)
        if declared.name in given and value != declared.default and not one.about(asked):
            about = " and ".join(f"d_{metric}" for metric in one.metrics)
            raise GraphpruneError(
                f"{one.name} is about {about}: it changes nothing with --metrics {options.metrics}"
            )


def evaluate(options: EvaluateOptions) -> int:
    """d_adv, d_rob, d_bnd and estimates of every anchor."""
    from graphprune.canonical import load
    from graphprune.canonical.questions import as_classifier
    from graphprune.evaluate import run
    from graphprune.evaluate.results import Job
    from graphprune.ir.shapes import parse_shapes

    be_verbose(options.verbose)
    settings = settings_of(options)
    indices = parse_indices(options.index)
    _check(options, settings)
    shapes = parse_shapes(settings.fix_shape)
    networks = (
        settings.prepared(
            as_classifier(load(model, output=settings.output, fix_shape=shapes), settings.threshold)
        )
        for model in options.models
    )
    jobs = [Job(n, _anchors(options, n, settings, indices)) for n in networks]
    if options.save_images is not None:
        _prepare_images(options.save_images, jobs)
    model = _checkable(settings, jobs) if settings.certificate else None
    memory = None if options.worker_memory is None else int(options.worker_memory * 2**30)
    watch = Events() if options.json_lines else Live(quiet=options.quiet, names=_names(jobs))
    with watch:
        outcome = run.evaluate(
            jobs, settings, run_dir=options.out, new=options.new,
            scheduler=options.scheduler, memory=memory, watch=watch,
        )  # fmt: skip
        if model is not None and options.certificate is not None:
            _write_proofs(options.certificate, model, jobs[0], outcome, settings)
    _write(options, jobs, outcome)
    # Last: whoever reads it may stop.
    if isinstance(watch, Events):
        summaries = [document["summary"] for document in outcome.documents]
        watch.end(summaries=summaries, interrupted=outcome.interrupted)
    else:
        _print_results(options, outcome)
    if outcome.failure is not None:
        raise outcome.failure
    if outcome.interrupted:
        print("graphprune: interrupted; everything finished is kept", file=sys.stderr)
        return 130
    return int(outcome.incomplete)


def _names(jobs: "list[Job]") -> dict[str, str]:
    """Names that tell several networks apart: their files, as short as they differ."""
    from graphprune.report.names import short_names

    if len(jobs) < 2:
        return {}
    paths = [str(job.network.source.path) for job in jobs]
    return {
        job.network.source.sha256: name for job, name in zip(jobs, short_names(paths), strict=True)
    }


def _check(options: EvaluateOptions, settings: Settings) -> None:
    """Refuse options that contradict each other, and files that cannot be written."""
    from graphprune.evaluate.documents import check_writable

    if options.scheduler is not None and (settings.workers > 1 or options.worker_memory):
        raise GraphpruneError(
            "--scheduler has workers of its own: --workers and --worker-memory are for this machine"
        )
    if options.json == "-" and options.json_lines:
        raise GraphpruneError("--json - and --json-lines both print: give --json a file")
    written = None if options.json == "-" else options.json
    for path in (written, options.html, options.save_points, options.certificate):
        if path is not None:
            check_writable(path)


def _write(options: EvaluateOptions, jobs: "list[Job]", outcome: "Outcome") -> None:
    """Write the files that are asked for."""
    from graphprune.evaluate.documents import write_json
    from graphprune.evaluate.points import save_points, ties_of

    if options.json not in (None, "-"):
        write_json(str(options.json), outcome.documents)
    if options.save_points is not None:
        points = outcome.keyed_points
        save_points(options.save_points, points, ties_of(jobs, points))
    if options.save_images is not None:
        _write_images(options.save_images, jobs, outcome)
    if options.html is not None:
        from graphprune.evaluate.archive import of_outcome
        from graphprune.report.page import write_report

        write_report(of_outcome(jobs, outcome), options.html)


def _prepare_images(folder: str, jobs: "list[Job]") -> None:
    """Say before the run that points are no images, or that the folder cannot be made."""
    from graphprune.report.images import make_folder, require_images

    for job in jobs:
        require_images(job.network.input_shape, f"--save-images {folder}")
    make_folder(folder)


def _write_images(folder: str, jobs: "list[Job]", outcome: "Outcome") -> None:
    """Write every anchor, and every point that was found near it."""
    from graphprune.region import Domain
    from graphprune.report.images import save_images

    several = len(jobs) > 1
    for job, document in zip(jobs, outcome.documents, strict=True):
        sha = job.network.source.sha256
        begun = {record["index"] for record in document["anchors"]}
        prefix = f"{sha[:8]}-" if several else ""
        images = [(f"{prefix}anchor-{a.index}", a.x) for a in job.anchors if a.index in begun]
        images += [
            (f"{prefix}anchor-{index}-{_file_name(metric)}-class-{witness.target}", witness.x)
            for model, index, metric, witness in outcome.keyed_points
            if model == sha
        ]
        save_images(folder, images, Domain.from_json(document["settings"]["domain"]))


def _file_name(metric: str) -> str:
    """A metric, or the text of an estimate, without what file names may not have."""
    return re.sub(r"[^\w.=-]+", "-", metric).strip("-")


def _print_results(options: EvaluateOptions, outcome: "Outcome") -> None:
    """Print the documents, or a table of each."""
    from graphprune.evaluate.documents import as_json

    if options.json == "-":
        sys.stdout.write(as_json(outcome.documents))
    elif not options.quiet:
        for document in outcome.documents:
            _print(document)


def _checkable(settings: Settings, jobs: "list[Job]") -> "Model":
    """The model as the checker reads it: known before the search whether it can be certified."""
    from graphprune.evaluate.proofs import checkable

    if len(jobs) != 1 or "bnd" not in settings.metrics:
        raise GraphpruneError("--certificate proves d_bnd of one model")
    return checkable(jobs[0].network)


def _write_proofs(
    path: str, model: "Model", job: "Job", outcome: "Outcome", settings: Settings
) -> None:
    """Write the certificate of a run."""
    from graphprune.check import write
    from graphprune.evaluate.proofs import proof_file
    from graphprune.ir.export import write_bytes

    write_bytes(path, write(proof_file(model, job, outcome, settings)))


def _anchors(
    options: EvaluateOptions, network: "Network", settings: Settings, indices: list[int] | None
) -> "list[Anchor]":
    """The anchors that a command line asks about."""
    from graphprune.errors import AnchorError
    from graphprune.evaluate.anchors import load_anchors

    source = options.anchors[0] if len(options.anchors) == 1 else options.anchors
    found = load_anchors(source, network, labels=options.labels, domain=settings.domain)
    if indices is not None:
        wrong = [i for i in indices if not 0 <= i < len(found)]
        if wrong:
            raise AnchorError(f"--index {wrong[0]}: the file has anchors 0 to {len(found) - 1}")
        found = [found[i] for i in dict.fromkeys(indices)]
    found = found[: options.limit]
    settings.check_anchors(found)
    return found


def _print(document: dict[str, Any]) -> None:
    from rich.console import Console

    from graphprune.evaluate.reading import read_document
    from graphprune.report.table import advice, causes, results_table, summary_line

    # Piped output is never cut to a terminal's width.
    console = Console(width=None if sys.stdout.isatty() else 200)
    found = read_document(document)
    console.print(results_table(found))
    for line in (*causes(found), *advice(found)):
        console.print(line, highlight=False, markup=False)
    console.print(summary_line(found), highlight=False)


def _add_metric(app: typer.Typer, name: str, metric: str, help: str) -> None:
    """Add `evaluate` for one metric of one model, with the options that are about it."""
    kept = [
        p for p in parameters_of(EvaluateOptions) if p.name not in MANY and p.option.about([metric])
    ]
    others = {p.name: p.default for p in parameters_of(EvaluateOptions) if p not in kept}

    def called(given: Collection[str], model: str, **values: Any) -> int:
        own = {**others, "models": [model], "metrics": metric, **values}
        given = [name for name in given if name != MODEL.name]
        return evaluate(checked(EvaluateOptions, own, given))

    add(app, [MODEL, *kept], called, name=name, help=help, epilog=None)


def register(app: typer.Typer) -> None:
    """Add the four commands."""
    command(app, EvaluateOptions, evaluate, epilog=EXAMPLES, check=_require_effect)
    for name, metric, text in (
        ("attack", "adv", "d_adv: the closest adversarial point an attack finds."),
        ("certify", "rob", "d_rob: the largest radius that a linear relaxation certifies."),
        ("distance", "bnd", "d_bnd: the exact distance to the decision boundary."),
    ):
        _add_metric(app, name, metric, text)
