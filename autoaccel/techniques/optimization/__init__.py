"""Optimization techniques: optimizer, learning rate, batch size, objective and averaging."""
