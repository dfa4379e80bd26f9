"""PyTorch modules as networks, by PyTorch's own exporter and without a file.

PyTorch is imported in here alone, and when a module is given: nothing else needs it.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from graphprune.canonical import load
from graphprune.errors import GraphpruneError, ModelError
from graphprune.ir import Network
from graphprune.runtime.original import run_file

if TYPE_CHECKING:
    import torch

log = logging.getLogger("graphprune")

# By how much the exported model may differ from the module, of its largest output.
ALIKE = 1e-3


def from_torch(
    module: "torch.nn.Module", example: "torch.Tensor", *, output: str | None = None
) -> Network:
    """The network of a PyTorch module.

    Parameters
    ----------
    module
        Exported in evaluation mode; its own mode is as before afterwards.
    example
        An input with its batch axis first, ``(N, *sample)``: its shape and type are the network's,
        and the exported model is compared with the module on it.
    output
        Which output holds the scores, where the module has several.

    Raises
    ------
    GraphpruneError
        PyTorch is not installed, or the module cannot be exported.
    ModelError
        The exported model computes something else than the module.
    UnsupportedError
        As `load`.
    """
    try:
        import torch
    except ImportError:
        raise GraphpruneError(
            "from_torch needs PyTorch and onnxscript: pip install 'graphprune[torch]'"
        ) from None
    if not isinstance(example, torch.Tensor) or example.ndim < 2 or not len(example):
        raise GraphpruneError("the example must be a tensor with a batch axis: (N, *sample)")
    with _evaluating(module), torch.no_grad():
        model = _exported(module, example)
        truth = module(example)
    network = load(model, output=output)
    if isinstance(truth, torch.Tensor):
        _compare(network, example.cpu().numpy(), truth.cpu().numpy())
    return network


@contextlib.contextmanager
def _evaluating(module: "torch.nn.Module") -> Iterator[None]:
    """Every part in evaluation mode for a while: dropout off, statistics fixed."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def _exported(module: "torch.nn.Module", example: "torch.Tensor") -> bytes:
    """The bytes of the module's ONNX model, with a symbolic batch where the module allows it."""
    import torch

    # A batch of 1 would be taken for a constant.
    batch = example if len(example) > 1 else torch.cat([example, example])
    said = io.StringIO()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(said):
            warnings.simplefilter("ignore")
            program: Any = torch.onnx.export(
                module, (batch,), dynamo=True, verbose=False, input_names=["x"],
                dynamic_shapes=({0: torch.export.Dim.AUTO},),
            )  # fmt: skip
    except ImportError as error:
        raise GraphpruneError(
            f"PyTorch's exporter needs {error.name}: pip install 'graphprune[torch]'"
        ) from None
    except Exception as error:
        reason = " ".join(str(error).split())[:300]
        raise GraphpruneError(f"PyTorch cannot export the module: {reason}") from error
    finally:
        log.debug("%s", said.getvalue())
    data: bytes = program.model_proto.SerializeToString()
    return data


def _compare(network: Network, x: "np.ndarray[Any, Any]", truth: "np.ndarray[Any, Any]") -> None:
    """Refuse a network that differs from its module on the example."""
    scores = run_file(network, x).reshape(len(x), -1)
    truth = truth.reshape(len(x), -1)
    if scores.shape != truth.shape:
        return  # a file of several outputs
    gap = float(np.max(np.abs(scores.astype(np.float64) - truth), initial=0.0))
    size = max(1.0, float(np.max(np.abs(truth), initial=0.0)))
    if not gap <= ALIKE * size:
        raise ModelError(
            f"the exported model differs from the module by {gap:.3g} on the example: its export"
            " is wrong, or the module computes something else at every call"
        )
