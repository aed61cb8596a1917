"""The run folder: its files, the event log and the Optuna study."""
