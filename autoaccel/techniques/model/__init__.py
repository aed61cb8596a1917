"""What is trained: sparsity and structured pruning."""
