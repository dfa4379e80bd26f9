"""ONNX Runtime and the devices it can use on this machine; found out once per process."""

import logging
from functools import cache
from importlib import metadata
from typing import Any, Literal

from graphprune.errors import GraphpruneError

Provider = Literal["auto", "cpu", "cuda"]
log = logging.getLogger("graphprune")

# Either build works; two of them, or what is left of one, do not.
REINSTALL = (
    "run: pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu"
    " (onnxruntime without CUDA)"
)


@cache
def onnx_runtime() -> Any:
    """The module ``onnxruntime``.

    Raises
    ------
    GraphpruneError
        It cannot be imported, or two builds of it overwrite each other.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise GraphpruneError(f"ONNX Runtime cannot be imported: {error}; {REINSTALL}") from None
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
            f" {REINSTALL}"
        )
    if not hasattr(onnxruntime, "InferenceSession"):
        # Files that one of two builds left behind when it was removed.
        where = ", ".join(getattr(onnxruntime, "__path__", ())) or "its folder"
        raise GraphpruneError(f"the installation of ONNX Runtime in {where} is broken; {REINSTALL}")
    onnxruntime.set_default_logger_severity(4)
    return onnxruntime


@cache
def cuda_problem() -> str:
    """The reason why CUDA cannot be used, empty where it can; logs once which device is used."""
    ort = onnx_runtime()
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        problem = "this ONNX Runtime has no CUDA provider"
    else:
        session = ort.InferenceSession(
            _probe(), providers=["CUDAExecutionProvider", "CPUExecutionProvider"]
        )
        used = "CUDAExecutionProvider" in session.get_providers()
        problem = "" if used else "no CUDA device or driver is usable"
    log.info("ONNX Runtime runs on %s", f"the CPU ({problem})" if problem else "CUDA")
    return problem


def _probe() -> bytes:
    """A model of one operator: ONNX Runtime names CUDA also where no device answers."""
    from onnx import TensorProto, helper

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "probe", [x], [y])
    opsets = [helper.make_opsetid("", 17)]
    model: bytes = helper.make_model(graph, ir_version=8, opset_imports=opsets).SerializeToString()
    return model
