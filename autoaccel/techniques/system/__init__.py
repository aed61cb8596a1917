"""System techniques: precision, compilation, memory, memory layout and data loading."""
