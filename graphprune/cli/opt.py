"""``opt``: the compiler driver."""

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import typer

from graphprune.cli.evaluate import EvaluateOptions
from graphprune.cli.options import be_verbose, parse_domain
from graphprune.cli.parameters import command
from graphprune.evaluate.option import again, option
from graphprune.evaluate.settings import FIX_SHAPE, Settings
from graphprune.runtime.provider import Provider

if TYPE_CHECKING:
    import onnx

    from graphprune.ir import Network
    from graphprune.pipeline import PassReport
    from graphprune.region import Anchor, Box, Domain
    from graphprune.runtime.timing import Times

EXAMPLES = """

Examples:

  graphprune opt model.onnx -o same.onnx

  graphprune opt model.onnx -o canonical.onnx --for verifier

  graphprune opt model.onnx -o small.onnx --anchors images.npz --index 3 \
--passes "bounds{radius=0.05}, prune-stable, fuse-affine"

  graphprune opt model.onnx -o small.onnx --box 0.4,0.6 \
--passes "bounds, prune-stable, fuse-affine" --verify-each
"""


STDOUT = "-"
USES = ("runtime", "verifier")
UNTOUCHED = "the file as it was, without what its output does not need: no pass changed a layer"
WHOLE = (
    "the file as it was, since the rewritten one {}; --for verifier writes one of the fewest ReLUs"
)


@dataclass(frozen=True)
class OptOptions:
    """The command line of `opt`."""

    model: str = field(metadata=option("ONNX file.", metavar="MODEL"))
    output: str = field(metadata=option("File to write; - is stdout.", "-o", "--output"))
    passes: str = field(
        default="",
        metadata=option(
            "Pipeline; without it the file stays as it is, but for what its output does not need.",
            "--passes",
        ),
    )
    use: str = field(
        default="runtime",
        metadata=option(
            "runtime: layers keep their form unless whole units or layers go, so that the result is"
            " no slower. verifier: the fewest ReLUs, in affine operators and activations alone.",
            "--for",
            choices=lambda: USES,
        ),
    )
    keep_outputs: bool = field(
        default=False,
        metadata=option("Keep the file's other outputs too.", "--keep-outputs"),
    )
    output_name: str | None = field(
        default=None,
        metadata=option("Output of MODEL that holds the scores.", "--output-name", metavar="NAME"),
    )
    fix_shape: list[str] | None = field(default=None, metadata=FIX_SHAPE)
    anchors: list[str] | None = field(
        default=None,
        metadata=option(
            "Points: .npz, .npy, IDX, .csv or PNG.",
            "--anchors",
            needs=("passes", "sequential", "threat"),
        ),
    )
    labels: str | None = again(EvaluateOptions, "labels", needs=("anchors",))
    index: int = field(
        default=0, metadata=option("Which anchor.", "--index", least=0, needs=("anchors",))
    )
    domain: str = again(EvaluateOptions, "domain", needs=("anchors", "box", "threat"))
    box: str | None = field(
        default=None,
        metadata=option(
            "Bounds on this box: LO,HI for every input element, or a .npz with arrays lower and"
            " upper.",
            "--box",
            needs=("passes", "sequential"),
        ),
    )
    threat: str | None = again(
        Settings,
        "threat",
        help="Write the network of a threat model's variables: normalise for raw units; the others"
        " are about one anchor.",
    )
    provider: str = again(Settings, "provider")
    threads: int = again(Settings, "threads", help="Of ONNX Runtime.")
    sequential: bool = field(
        default=False,
        metadata=option(
            "Only Gemm/Conv/Relu/Flatten, one after the other: for tools that read no more."
            " Valid on the ball or box of the pipeline.",
            "--sequential",
        ),
    )
    verify_each: bool = field(
        default=False, metadata=option("Check every pass's promise on points.", "--verify-each")
    )
    dump: str | None = field(
        default=None, metadata=option("The graph after each pass.", "--dump", metavar="DIR")
    )
    timing: bool = field(default=False, metadata=option("Time and size per pass.", "--timing"))
    stats: bool = field(
        default=False, metadata=option("Operators, bounds and choices per pass.", "--stats")
    )
    quiet: bool = again(EvaluateOptions, "quiet", help="No progress, no summary.")
    verbose: bool = again(EvaluateOptions, "verbose")

    @property
    def lowered(self) -> bool:
        """True where the result is for tools that read few operators."""
        return self.sequential or self.use == "verifier"


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, OptOptions, opt, epilog=EXAMPLES)


def opt(options: OptOptions) -> int:
    """Run a pass pipeline: ONNX in, ONNX out."""
    be_verbose(options.verbose)
    from graphprune.canonical import load
    from graphprune.errors import OutputError
    from graphprune.evaluate.documents import check_writable
    from graphprune.ir.export import write_bytes, written
    from graphprune.ir.origin import untouched
    from graphprune.ir.shapes import parse_shapes
    from graphprune.pipeline import Pipeline
    from graphprune.pipeline.no_slower import no_slower
    from graphprune.region import Domain
    from graphprune.runtime.resources import Resources, using

    if options.output != STDOUT:
        check_writable(options.output)
    texts = [options.passes] * bool(options.passes) + ["sequential"] * options.sequential
    pipeline = Pipeline.parse(", ".join(texts))
    lowered = options.lowered
    domain = Domain(*parse_domain(options.domain))
    with using(Resources(provider=cast(Provider, options.provider), threads=options.threads)):
        network = load(
            options.model,
            output=options.output_name,
            fix_shape=parse_shapes(options.fix_shape or ()),
        )
        if options.threat is not None:
            network, anchor, domain = _behind_threat(options, network, domain)
        else:
            anchor = _anchor(options, network, domain) if options.anchors else None
        box = None if options.box is None else read_box(options.box, network, domain)
        try:
            result = pipeline.run(
                network, anchor, domain=domain, box=box, verify=options.verify_each,
                dump=options.dump, whole_units=not lowered,
            )  # fmt: skip
        except OSError as error:
            raise OutputError(f"--dump {options.dump}: {error.strerror}") from None
        times, why = None, ""
        if lowered or not pipeline.exact or (options.threat and not texts):
            proto = written(result.network, lowered=lowered, keep_outputs=options.keep_outputs)
        else:
            proto, why, times = no_slower(
                network, result.network, keep_outputs=options.keep_outputs
            )
        data = proto.SerializeToString()
        if options.output == STDOUT:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        else:
            write_bytes(options.output, data)
        _print_reports(result.report, options)
        if not options.quiet:
            if untouched(result.network) and not lowered:
                said = UNTOUCHED
            elif options.threat and not texts:
                said = f"the network with the threat '{options.threat}' in front"
            else:
                said = WHOLE.format(why) if why else compare(network, result.network, proto, times)
                if why and options.threat:
                    said = said.replace("the file", "the threat's network", 1)
            # Not between the bytes of the model.
            stream = sys.stderr if options.output == STDOUT else sys.stdout
            print(f"{options.output}: {said}", file=stream)
    return 0


def _anchor(options: OptOptions, network: "Network", domain: "Domain") -> "Anchor":
    """The anchor that the command line names."""
    from graphprune.errors import AnchorError
    from graphprune.evaluate.anchors import load_anchors

    files = options.anchors or []
    source = files[0] if len(files) == 1 else files
    found = load_anchors(source, network, labels=options.labels, domain=domain)
    if options.index >= len(found):
        raise AnchorError(f"--index {options.index}: the file has anchors 0 to {len(found) - 1}")
    return found[options.index]


def _behind_threat(
    options: OptOptions, network: "Network", domain: "Domain"
) -> "tuple[Network, Anchor | None, Domain]":
    """The network of a threat's variables, and the anchor and domain of these."""
    from dataclasses import replace

    import numpy as np

    from graphprune.errors import GraphpruneError
    from graphprune.ir.export import with_own_source
    from graphprune.ir.front import in_front
    from graphprune.threats import Threat

    if options.keep_outputs:
        raise GraphpruneError("--keep-outputs keeps outputs of the file itself: not with --threat")
    threat = Threat.parse(str(options.threat))
    network = threat.prepared(network, domain)
    anchor = _anchor(options, network, domain) if options.anchors else None
    if threat.local:
        if anchor is None:
            raise GraphpruneError(f"--threat {threat} is about one anchor: give --anchors FILE")
        threat.check_anchors([anchor], domain)
        found = threat.front(anchor, domain)
        if found is not None:
            front, domain = found
            network = in_front(network, front)
            anchor = replace(anchor, x=np.zeros(front.shape))
    made = with_own_source(network)
    for key, value in threat.to_json().items():
        made.model.metadata_props[f"graphprune.{key}"] = value
    return made, anchor, domain


def read_box(text: str, network: "Network", domain: "Domain") -> "Box":
    """The box of ``LO,HI`` or of a file, intersected with the domain."""
    import numpy as np

    from graphprune.errors import AnchorError
    from graphprune.region import Box

    shape = network.input_shape
    if text.endswith(".npz"):
        try:
            with np.load(text) as data:
                lower, upper = (np.asarray(data[key], np.float64) for key in ("lower", "upper"))
        except FileNotFoundError:
            raise AnchorError(f"--box {text}: no such file") from None
        except KeyError:
            raise AnchorError(f"--box {text}: needs the arrays 'lower' and 'upper'") from None
        except Exception as error:
            raise AnchorError(f"--box {text}: not a readable .npz file: {error}") from None
    else:
        try:
            low, high = (float(part) for part in text.split(","))
        except ValueError:
            raise AnchorError(f"--box takes LO,HI or a .npz file, not '{text}'") from None
        lower, upper = np.full(shape, low), np.full(shape, high)
    for name, side in (("lower", lower), ("upper", upper)):
        if side.size != int(np.prod(shape)):
            raise AnchorError(f"--box {text}: '{name}' has shape {side.shape}, not {shape}")
    ends = domain.box(shape)
    lower = np.maximum(lower.reshape(shape), ends[0])
    upper = np.minimum(upper.reshape(shape), ends[1])
    if not (np.all(np.isfinite(lower)) and np.all(np.isfinite(upper)) and np.all(lower <= upper)):
        raise AnchorError(
            f"--box {text}: must be finite with lower <= upper inside --domain {domain.text}"
        )
    return Box(lower, upper)


def compare(
    before: "Network", after: "Network", proto: "onnx.ModelProto", times: "Times | None" = None
) -> str:
    """Say how much smaller and faster one network, written as `proto`, is than another."""
    from graphprune.runtime.timing import race

    old, new = times or race(before, before.source.proto, proto)
    took = f"ONNX Runtime {old:.4f} -> {new:.4f} ms ({old / new:.2f}x)"
    if old != old or new != new:
        took = "ONNX Runtime cannot run it"
    return (
        f"living neurons {before.live_neurons} -> {after.live_neurons},"
        f" parameters {before.parameters} -> {after.parameters},"
        f" multiply-adds {before.multiply_adds} -> {after.multiply_adds},"
        f" {took}"
    )


def _print_reports(reports: "tuple[PassReport, ...]", options: OptOptions) -> None:
    """Print what was asked for of every pass: time, choices, and that its promise holds."""
    for report in reports:
        if options.timing or options.stats:
            seconds = f"  {report.seconds:8.3f} s" if options.timing else ""
            print(
                f"{report.name:20}{seconds}  {report.nodes:4} nodes  {report.neurons:7} neurons"
                f"  {report.parameters:9} parameters  {report.multiply_adds:11} multiply-adds",
                file=sys.stderr,
            )
        if options.stats:
            counts = ", ".join(f"{name} {count}" for name, count in report.operators)
            print(f"    operators: {counts}", file=sys.stderr)
            for note in report.notes:
                print(f"    {note}", file=sys.stderr)
        if report.checked is not None:
            print(f"{report.name}: {report.checked}", file=sys.stderr)
