"""``opt``: the compiler driver."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from graphprune.cli import options as o

if TYPE_CHECKING:
    from graphprune.ir import Network
    from graphprune.pipeline import PassReport
    from graphprune.region import Box, Domain

EXAMPLES = """

Examples:

  graphprune opt model.onnx -o canonical.onnx

  graphprune opt model.onnx -o small.onnx --anchors images.npz --index 3 \
--passes "bounds{radius=0.05}, prune-stable, fuse-affine"

  graphprune opt model.onnx -o small.onnx --box 0.4,0.6 \
--passes "bounds, prune-stable, fuse-affine" --verify-each
"""


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command(epilog=EXAMPLES)
    def opt(
        model: Annotated[str, typer.Argument(metavar="MODEL", help="ONNX file.")],
        output: Annotated[str, typer.Option("-o", "--output", help="File to write.")],
        passes: Annotated[
            str, typer.Option("--passes", help="Pipeline; without it the canonical form.")
        ] = "",
        output_name: Annotated[
            str | None,
            typer.Option(
                "--output-name", metavar="NAME", help="Output of MODEL that holds the scores."
            ),
        ] = None,
        anchors: o.OptionalAnchors = None,
        labels: o.Labels = None,
        index: Annotated[int, typer.Option("--index", min=0, help="Which anchor.")] = 0,
        domain: o.Domain = "0,1",
        box: Annotated[
            str | None,
            typer.Option(
                help="Bounds on this box: LO,HI for every input element, or a .npz with arrays"
                " lower and upper."
            ),
        ] = None,
        provider: o.Provider = "auto",
        threads: Annotated[int, typer.Option("--threads", min=1, help="Of ONNX Runtime.")] = 1,
        sequential: Annotated[
            bool,
            typer.Option(
                "--sequential",
                help="Only Gemm/Conv/Relu/Flatten, one after the other: for tools that read no"
                " more. Valid on the ball or box of the pipeline.",
            ),
        ] = False,
        verify_each: Annotated[
            bool, typer.Option("--verify-each", help="Check every pass's promise on points.")
        ] = False,
        dump: Annotated[
            str | None, typer.Option("--dump", metavar="DIR", help="The graph after each pass.")
        ] = None,
        timing: Annotated[bool, typer.Option("--timing", help="Time and size per pass.")] = False,
        stats: Annotated[
            bool, typer.Option("--stats", help="Operators and choices per pass.")
        ] = False,
        quiet: Annotated[bool, typer.Option("--quiet", help="No progress, no summary.")] = False,
        verbose: o.Verbose = False,
    ) -> None:
        """Run a pass pipeline: ONNX in, ONNX out."""
        o.be_verbose(verbose)
        from graphprune.canonical import load
        from graphprune.errors import AnchorError, OutputError
        from graphprune.evaluate.anchors import load_anchors
        from graphprune.evaluate.documents import check_writable
        from graphprune.ir.export import save
        from graphprune.pipeline import Pipeline
        from graphprune.region import Domain
        from graphprune.runtime.resources import Resources, using

        check_writable(output)
        pipeline = Pipeline.parse(", ".join([passes] * bool(passes) + ["sequential"] * sequential))
        where = Domain(*o.parse_domain(domain))
        o.one_of("--provider", provider, ("auto", "cpu", "cuda"))
        with using(Resources(provider=provider, threads=threads)):  # type: ignore[arg-type]
            network = load(model, output=output_name)
            region = None if box is None else read_box(box, network, where)
            anchor = None
            if anchors:
                source = anchors[0] if len(anchors) == 1 else anchors
                found = load_anchors(source, network, labels=labels, domain=where)
                if index >= len(found):
                    raise AnchorError(
                        f"--index {index}: the file has anchors 0 to {len(found) - 1}"
                    )
                anchor = found[index]
            try:
                result = pipeline.run(
                    network, anchor, domain=where, box=region, verify=verify_each, dump=dump
                )
            except OSError as error:
                raise OutputError(f"--dump {dump}: {error.strerror}") from None
            save(result.network, output)
            if timing or stats:
                _print_reports(result.report, timing, stats)
            if not quiet:
                print(f"{output}: {compare(network, result.network)}")


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


def compare(before: "Network", after: "Network") -> str:
    """How much smaller and faster one network is than another."""
    from graphprune.runtime.timing import milliseconds

    times = [milliseconds(before, proto=before.source.proto), milliseconds(after)]
    took = f"ONNX Runtime {times[0]:.4f} -> {times[1]:.4f} ms ({times[0] / times[1]:.2f}x)"
    if any(time != time for time in times):
        took = "ONNX Runtime cannot run it"
    return (
        f"living neurons {before.live_neurons} -> {after.live_neurons},"
        f" parameters {before.parameters} -> {after.parameters},"
        f" multiply-adds {before.multiply_adds} -> {after.multiply_adds},"
        f" {took}"
    )


def _print_reports(reports: "tuple[PassReport, ...]", timing: bool, stats: bool) -> None:
    for report in reports:
        seconds = f"  {report.seconds:8.3f} s" if timing else ""
        print(
            f"{report.name:20}{seconds}  {report.nodes:4} nodes  {report.neurons:7} neurons"
            f"  {report.parameters:9} parameters  {report.multiply_adds:11} multiply-adds",
            file=sys.stderr,
        )
        if stats:
            counts = ", ".join(f"{name} {count}" for name, count in report.operators)
            print(f"    operators: {counts}", file=sys.stderr)
            for note in report.notes:
                print(f"    {note}", file=sys.stderr)
