"""Values shared by all packages. Nothing here imports torch or Optuna, or starts a process."""
