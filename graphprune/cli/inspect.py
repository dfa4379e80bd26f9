"""``inspect``: what is in a model."""

from typing import TYPE_CHECKING, Annotated

import typer

from graphprune.evaluate.settings import FIX_SHAPE

if TYPE_CHECKING:
    from graphprune.ir import Network


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def inspect(
        model: Annotated[str, typer.Argument(metavar="MODEL", help="ONNX file.")],
        output: Annotated[
            str | None,
            typer.Option(
                "--output",
                metavar="NAME",
                help="Output with the scores; default: the only float one.",
            ),
        ] = None,
        fix_shape: Annotated[
            list[str] | None,
            typer.Option(
                "--fix-shape", metavar=FIX_SHAPE["option"].metavar, help=FIX_SHAPE["option"].help
            ),
        ] = None,
    ) -> int:
        """Inputs, outputs, layers, neurons, parameters, operators, and what is unsupported."""
        from collections import Counter

        from graphprune.canonical import canonicalise
        from graphprune.canonical.survey import survey
        from graphprune.cli.options import in_options
        from graphprune.errors import ModelError
        from graphprune.ir.load import half_precision, read_model
        from graphprune.ir.shapes import parse_shapes, with_shapes
        from graphprune.region.pixels import RULE

        file = with_shapes(read_model(model), parse_shapes(fix_shape or ()))
        graph = file.proto.graph
        counts = Counter(node.op_type for node in graph.node)
        opsets = ", ".join(f"{s.domain or 'ai.onnx'} {s.version}" for s in file.proto.opset_import)
        print(f"file        {model}")
        print(f"sha256      {file.sha256}")
        print(f"opset       {opsets} (IR version {file.proto.ir_version})")
        print(f"operators   {', '.join(f'{k} {n}' for k, n in sorted(counts.items()))}")
        try:
            network = canonicalise(file, output=output)
        except ModelError as error:
            found = survey(file, output=output)
            print(f"unsupported {len(found) or 1}")
            for reason in found.lines or [str(error)]:
                print(f"  {in_options(reason, {'output': '--output'})}")
            return 2
        source = network.source
        batch = source.batch_size or ("symbolic" if source.input_layout.batch == 0 else "absent")
        print(
            f"input       {source.input_name} {network.input_shape}, batch {batch}, {source.dtype}"
        )
        print(f"anchors     {RULE}")
        above = ", ".join(operator.op_type for operator in source.head)
        below = f" (scores below its {above})" if above else ""
        print(f"output      {source.file_output}{below}, {network.classes} classes")
        if network.classes < 2:
            print(
                "            class 1 is where it is above 0 (0.5 after a sigmoid), or above T:"
                " graphprune evaluate --threshold T"
            )
        if halves := half_precision(source.proto):
            print(f"precision   {halves}, computed in wider types")
        layers = len(network.source_activations)
        print(f"neurons     {network.neurons} in {layers} activation layers")
        if network.auxiliary_neurons:
            print(f"added       {network.auxiliary_neurons} ReLUs that express maxima and clips")
        print(f"living      {network.live_neurons} neurons can influence the output")
        print(f"parameters  {network.parameters}")
        print(f"work        {network.multiply_adds} multiply-adds per sample")
        print("unsupported none")
        _print_layers(network)
        return 0


def _print_layers(network: "Network") -> None:
    """Print a row per activation layer."""
    from rich.console import Console
    from rich.table import Table

    from graphprune.ir.network import activation_of, operator, pre_activation, sample_shape

    table = Table("layer", "activation", "shape", "neurons", "living")
    for i, node in enumerate(network.activations):
        shape = sample_shape(pre_activation(node))
        kind = type(operator(node)).__name__ + " (added)" * activation_of(node).auxiliary
        alive = network.live(node)
        table.add_row(str(i + 1), kind, str(shape), str(alive.size), str(int(alive.sum())))
    Console(width=100).print(table)
