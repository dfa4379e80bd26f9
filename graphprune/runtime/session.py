"""Sessions: provider choice, threads, compilation."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any, Literal

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from graphprune.errors import GraphpruneError
from graphprune.ir.network import Network

Provider = Literal["auto", "cpu", "cuda"]
log = logging.getLogger("graphprune")


@dataclass
class _Settings:
    provider: Provider = "auto"
    threads: int = 1


_settings = _Settings()


def configure(*, provider: Provider = "auto", threads: int = 1) -> None:
    """Choose the provider and the number of threads of sessions made from now on.

    Raises
    ------
    GraphpruneError
        CUDA is asked for and not usable; the message says why.
    """
    if provider == "cuda" and (reason := _cuda_problem()):
        raise GraphpruneError(f"provider cuda: {reason}; use --provider cpu")
    _settings.provider, _settings.threads = provider, threads


def provider() -> str:
    """``cuda`` or ``cpu``: what sessions made now run on."""
    if _settings.provider == "cpu":
        return "cpu"
    return "cpu" if _cuda_problem() else "cuda"


@cache
def _runtime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise GraphpruneError(f"ONNX Runtime cannot be imported: {error}") from None
    installed = set()
    for name in ("onnxruntime", "onnxruntime-gpu"):
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        installed.add(name)
    if len(installed) == 2:
        raise GraphpruneError(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other;"
            " run: pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu"
        )
    onnxruntime.set_default_logger_severity(4)
    return onnxruntime


@cache
def _cuda_problem() -> str:
    """Why CUDA cannot be used, or an empty string when it can; says once which is used."""
    ort = _runtime()
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        problem = "this ONNX Runtime has no CUDA provider"
    else:
        node = onnx.helper.make_node("Relu", ["x"], ["y"])
        value = [onnx.helper.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [1]) for n in "xy"]
        graph = onnx.helper.make_graph([node], "probe", value[:1], value[1:])
        probe = onnx.helper.make_model(
            graph, ir_version=8, opset_imports=[onnx.helper.make_opsetid("", 17)]
        )
        session = ort.InferenceSession(
            probe.SerializeToString(), providers=["CUDAExecutionProvider", "CPUExecutionProvider"]
        )
        used = "CUDAExecutionProvider" in session.get_providers()
        problem = "" if used else "no CUDA device or driver is usable"
    log.info("ONNX Runtime runs on %s", f"the CPU ({problem})" if problem else "CUDA")
    return problem


class Resident:
    """An array in the memory of the device that sessions made now run on."""

    def __init__(self, value: Any) -> None:
        self.value = value

    @classmethod
    def of(cls, array: NDArray[np.generic]) -> "Resident":
        """Copy an array there."""
        ort = _runtime()
        return cls(ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array), provider(), 0))

    def numpy(self) -> NDArray[Any]:
        """Copy it back."""
        array: NDArray[Any] = self.value.numpy()
        return array


class Executable:
    """A graph ready to run; called with its inputs by name, returns its outputs in order."""

    def __init__(self, model: ir.Model | onnx.ModelProto) -> None:
        ort = _runtime()
        proto = model if isinstance(model, onnx.ModelProto) else ir.to_proto(model)
        options = ort.SessionOptions()
        options.intra_op_num_threads = _settings.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        # Freed at the end of a run: batches vary, and an arena keeps the largest one forever.
        options.enable_cpu_mem_arena = False
        self._device = provider()
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


def compiled(network: Network, key: object, make: Callable[[], ir.Model]) -> Executable:
    """The executable of a transform of `network`, compiled at its first use."""
    full = (key, provider(), _settings.threads)
    return network.cached(full, lambda: Executable(make()))
