"""``opt``: the compiler driver."""

from typing import Annotated

import typer

from graphprune.cli import options as o

EXAMPLES = """

Examples:

  graphprune opt model.onnx -o canonical.onnx

  graphprune opt model.onnx -o small.onnx --anchors images.npz --index 3 \
--passes "bounds{radius=0.05}, prune-stable, fuse-affine"
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
        anchors: o.OptionalAnchors = None,
        labels: o.Labels = None,
        index: Annotated[int, typer.Option("--index", min=0, help="Which anchor.")] = 0,
        domain: o.Domain = "0,1",
        provider: o.Provider = "auto",
        threads: o.Threads = 1,
        timing: Annotated[bool, typer.Option("--timing", help="Time and size per pass.")] = False,
        quiet: o.Quiet = False,
        verbose: o.Verbose = False,
    ) -> None:
        """Run a pass pipeline: ONNX in, ONNX out."""
        import sys

        from graphprune.backends.onnxruntime import configure
        from graphprune.canonical import load
        from graphprune.errors import AnchorError
        from graphprune.evaluate.anchors import load_anchors
        from graphprune.evaluate.run import check_writable
        from graphprune.ir import Domain
        from graphprune.ir.export import save
        from graphprune.pipeline import Pipeline

        check_writable(output)
        pipeline = Pipeline.parse(passes)
        box = Domain(*o.parse_domain(domain))
        o.one_of("--provider", provider, ("auto", "cpu", "cuda"))
        configure(provider=provider, threads=threads)  # type: ignore[arg-type]
        network = load(model)
        anchor = None
        if anchors:
            source = anchors[0] if len(anchors) == 1 else anchors
            found = load_anchors(source, network, labels=labels, domain=box)
            if index >= len(found):
                raise AnchorError(f"--index {index}: the file has anchors 0 to {len(found) - 1}")
            anchor = found[index]
        result = pipeline.run(network, anchor, domain=box)
        save(result.network, output)
        if quiet:
            return
        if timing:
            for report in result.report:
                print(
                    f"{report.name:20} {report.seconds:8.3f} s  {report.neurons:7} neurons"
                    f"  {report.parameters:9} parameters  {report.multiply_adds:11} multiply-adds",
                    file=sys.stderr,
                )
        before, after = network, result.network
        print(
            f"{output}: living neurons {before.living_neurons} -> {after.living_neurons},"
            f" parameters {before.parameters} -> {after.parameters},"
            f" multiply-adds {before.multiply_adds} -> {after.multiply_adds}"
        )
