"""Budget-aware AutoML for PyTorch training."""
