"""Sessions of ONNX Runtime: graphs compiled for the current device and threads."""

from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from graphprune.errors import UnsupportedError
from graphprune.ir.external import MESSAGE
from graphprune.ir.network import Network
from graphprune.runtime.provider import onnx_runtime
from graphprune.runtime.resources import current

# The option of ONNX Runtime that says where external data lies.
FOLDER = "session.model_external_initializers_file_folder_path"


class Resident:
    """An array in the memory of the device that sessions made now run on."""

    def __init__(self, value: Any) -> None:
        self.value = value

    @classmethod
    def of(cls, array: NDArray[np.generic]) -> "Resident":
        """Copy an array there."""
        make = onnx_runtime().OrtValue.ortvalue_from_numpy
        return cls(make(np.ascontiguousarray(array), current().device, 0))

    def numpy(self) -> NDArray[Any]:
        """Copy it back."""
        array: NDArray[Any] = self.value.numpy()
        return array


class Executable:
    """A graph ready to run; called with its inputs by name, returns its outputs in order.

    Parameters
    ----------
    folder
        Where the file lies, for tensors that were left outside of the message.
    optimised
        False: as it is, without ONNX Runtime's own rewrites, some of which lose values.

    Raises
    ------
    UnsupportedError
        The weights of the graph are too large for one message.
    """

    def __init__(
        self,
        model: ir.Model | onnx.ModelProto,
        folder: Path | None = None,
        *,
        optimised: bool = True,
    ) -> None:
        ort = onnx_runtime()
        proto = model if isinstance(model, onnx.ModelProto) else _message(model)
        options = ort.SessionOptions()
        options.intra_op_num_threads = current().threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        if not optimised:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        # Freed at the end of a run: batches vary, and an arena keeps the largest one forever.
        options.enable_cpu_mem_arena = False
        # A product with dequantised weights would round what it is multiplied with to 8 bits.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        if folder is not None:
            options.add_session_config_entry(FOLDER, str(folder))
        self._device = current().device
        if self._device == "cuda":
            # TF32 would break the rounding margins, and so would Winograd's or Fourier's
            # convolutions; the default algorithm is a matrix product.
            kept = {"use_tf32": "0", "cudnn_conv_algo_search": "DEFAULT"}
            chosen: list[Any] = [("CUDAExecutionProvider", kept)]
        else:
            chosen = []
        self._session = ort.InferenceSession(
            proto.SerializeToString(), options, providers=[*chosen, "CPUExecutionProvider"],
            # A product of constants can underflow where the two factors, one by one, do not.
            disabled_optimizers={"ConvMulFusion"},
        )  # fmt: skip
        self._inputs = {item.name for item in self._session.get_inputs()}
        self.outputs = tuple(item.name for item in self._session.get_outputs())

    def __call__(self, feeds: Mapping[str, "NDArray[np.generic] | Resident"]) -> list[NDArray[Any]]:
        """Run; feeds the graph does not have (an input folded away) are left out."""
        used = {name: value for name, value in feeds.items() if name in self._inputs}
        results: list[NDArray[Any]]
        if any(isinstance(value, Resident) for value in used.values()):
            results = self._bound(used, "cpu").copy_outputs_to_cpu()
        else:
            results = self._session.run(None, used)
        return results

    def resident(self, feeds: Mapping[str, "NDArray[np.generic] | Resident"]) -> list["Resident"]:
        """Run and leave the outputs where they are computed, ready to be fed again."""
        used = {name: value for name, value in feeds.items() if name in self._inputs}
        return [Resident(value) for value in self._bound(used, self._device).get_outputs()]

    def _bound(self, feeds: Mapping[str, "NDArray[np.generic] | Resident"], outputs: str) -> Any:
        """Run by I/O binding, outputs allocated on the device `outputs`."""
        binding = self._session.io_binding()
        for name, value in feeds.items():
            if isinstance(value, Resident):
                binding.bind_ortvalue_input(name, value.value)
            else:
                binding.bind_cpu_input(name, np.ascontiguousarray(value))
        for name in self.outputs:
            binding.bind_output(name, outputs)
        self._session.run_with_iobinding(binding)
        return binding


def _message(model: ir.Model) -> onnx.ModelProto:
    values = model.graph.initializers.values()
    size = sum(value.const_value.nbytes for value in values if value.const_value is not None)
    if size >= MESSAGE:
        raise UnsupportedError(
            f"a graph of this network has weights of {size / 2**30:.2f} GiB, and ONNX Runtime takes"
            " graphs up to 2 GiB: make the network smaller"
        )
    return ir.to_proto(model)


def compiled(network: Network, key: object, make: Callable[[], ir.Model]) -> Executable:
    """The executable of a transform of `network`, compiled at its first use."""
    resources = current()
    full = (key, resources.device, resources.threads)

    def build() -> Executable:
        start = monotonic()
        executable = Executable(make())
        longest = _compiling(network)
        longest[0] = max(longest[0], monotonic() - start)
        return executable

    return network.cached(full, build)


def compile_seconds(network: Network) -> float:
    """The longest that a transform of `network` took to compile so far; the next takes about it."""
    return _compiling(network)[0]


def _compiling(network: Network) -> list[float]:
    return network.cached("compile seconds", lambda: [0.0])
