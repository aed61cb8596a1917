"""The run folder: its layout, its lock, its log of events and its Optuna study. The supervisor alone writes it."""
