"""Export of trained policies to StableHLO and ONNX."""
