"""Running things: graphs in ONNX Runtime or its reference, compiled kernels, HiGHS, processes."""
