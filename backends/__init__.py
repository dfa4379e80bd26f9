"""Backends: executors of graphs (onnxruntime, reference) and exact solvers (scip)."""
