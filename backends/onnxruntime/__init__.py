"""Running graphs with ONNX Runtime, on CUDA when it works and on the CPU otherwise."""

from graphprune.backends.onnxruntime.clock import milliseconds
from graphprune.backends.onnxruntime.original import run_file, run_original
from graphprune.backends.onnxruntime.runtime import (
    Executable,
    Resident,
    compiled,
    configure,
    provider,
)

__all__ = [
    "Executable",
    "Resident",
    "compiled",
    "configure",
    "milliseconds",
    "provider",
    "run_file",
    "run_original",
]
