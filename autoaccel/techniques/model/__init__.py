"""Techniques that change the model: initialization, depth, freezing, adapters, compression, distillation."""
