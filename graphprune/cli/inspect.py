"""``inspect``: what is in a model."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from graphprune.evaluate.settings import FIX_SHAPE

if TYPE_CHECKING:
    from graphprune.ir import Network
    from graphprune.ir.load import ModelFile


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
        json: Annotated[
            bool, typer.Option("--json", help="As one JSON object, for programs.")
        ] = False,
    ) -> int:
        """Inputs, outputs, layers, neurons, parameters, operators, and what is unsupported."""
        from graphprune.canonical import canonicalise
        from graphprune.canonical.survey import survey
        from graphprune.cli.options import in_options
        from graphprune.errors import ModelError
        from graphprune.ir.load import read_model
        from graphprune.ir.shapes import parse_shapes, with_shapes

        file = with_shapes(read_model(model), parse_shapes(fix_shape or ()))
        try:
            network = canonicalise(file, output=output)
        except ModelError as error:
            found = survey(file, output=output)
            reasons = found.lines or [str(error)]
            reasons = [in_options(reason, {"output": "--output"}) for reason in reasons]
            refused = {"unsupported": len(found) or 1, "reasons": reasons}
            _show(_about_file(model, file) | refused, json)
            return 2
        _show(_about_file(model, file) | _about_network(network), json)
        if not json:
            _print_layers(network)
        return 0


def _show(found: dict[str, Any], as_json: bool) -> None:
    """Print what is known of a model, for people or for programs."""
    if as_json:
        import json

        print(json.dumps(found, indent=1))
        return
    for name, value in found.items():
        if name == "reasons":
            for reason in value:
                print(f"  {reason}")
        elif name != "layers":
            print(f"{name:<11} {_LINES.get(name, str)(value)}")


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _input(found: dict[str, Any]) -> str:
    shape = tuple(found["shape"])
    return f"{found['name']} {shape}, batch {found['batch']}, {found['dtype']}"


def _output(found: dict[str, Any]) -> str:
    below = f" (scores below its {found['below']})" if found["below"] else ""
    text = f"{found['name']}{below}, {found['classes']} classes"
    if found["classes"] < 2:
        text += (
            "\n            class 1 is where it is above 0 (0.5 after a sigmoid), or above T:"
            " graphprune evaluate --threshold T"
        )
    return text


# Lines of entries whose value says too little alone.
_LINES: dict[str, Callable[[Any], str]] = {
    "operators": _counted,
    "input": _input,
    "output": _output,
    "neurons": lambda found: f"{found['count']} in {found['layers']} activation layers",
    "added": lambda count: f"{count} neurons that express maxima, clips and products",
    "living": lambda count: f"{count} neurons can influence the output",
    "work": lambda count: f"{count} multiply-adds per sample",
    "unsupported": lambda count: str(count or "none"),
}


def _about_file(path: str, file: "ModelFile") -> dict[str, Any]:
    from collections import Counter

    counts = Counter(node.op_type for node in file.proto.graph.node)
    opsets = ", ".join(f"{s.domain or 'ai.onnx'} {s.version}" for s in file.proto.opset_import)
    return {
        "file": path,
        "sha256": file.sha256,
        "opset": f"{opsets} (IR version {file.proto.ir_version})",
        "operators": dict(sorted(counts.items())),
    }


def _about_network(network: "Network") -> dict[str, Any]:
    from graphprune.ir.load import half_precision
    from graphprune.region.pixels import RULE

    source = network.source
    batch = source.batch_size or ("symbolic" if source.input_layout.batch == 0 else "absent")
    found: dict[str, Any] = {
        "input": {
            "name": source.input_name, "shape": list(network.input_shape), "batch": batch,
            "dtype": str(source.dtype),
        },
        "anchors": RULE,
        "output": {
            "name": source.file_output, "classes": network.classes,
            "below": ", ".join(operator.op_type for operator in source.head),
        },
    }  # fmt: skip
    if halves := half_precision(source.proto):
        found["precision"] = f"{halves}, computed in wider types"
    found["neurons"] = {"count": network.neurons, "layers": len(network.source_activations)}
    if network.auxiliary_neurons:
        found["added"] = network.auxiliary_neurons
    return found | {
        "living": network.live_neurons,
        "parameters": network.parameters,
        "work": network.multiply_adds,
        "unsupported": 0,
        "reasons": [],
        "layers": _layers(network),
    }


def _layers(network: "Network") -> list[dict[str, Any]]:
    """Every activation layer."""
    from graphprune.ir.network import activation_of, operator, pre_activation, sample_shape

    found = []
    for node in network.activations:
        alive = network.live(node)
        found.append(
            {
                "activation": type(operator(node)).__name__,
                "added": activation_of(node).auxiliary,
                "shape": list(sample_shape(pre_activation(node))),
                "neurons": int(alive.size),
                "living": int(alive.sum()),
            }
        )
    return found


def _print_layers(network: "Network") -> None:
    """Print a row per activation layer."""
    from rich.console import Console
    from rich.table import Table

    table = Table("layer", "activation", "shape", "neurons", "living")
    for i, layer in enumerate(_layers(network), 1):
        kind = layer["activation"] + " (added)" * layer["added"]
        shape = str(tuple(layer["shape"]))
        table.add_row(str(i), kind, shape, str(layer["neurons"]), str(layer["living"]))
    Console(width=100).print(table)
