"""Values that all rooms speak: no torch, no optuna, no process."""
