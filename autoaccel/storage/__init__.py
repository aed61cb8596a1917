"""The run folder: its files, the log of events, the Optuna study."""
