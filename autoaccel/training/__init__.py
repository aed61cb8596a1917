"""Train one recipe within one budget: a task, techniques and a budget in, saved weights out.

It knows nothing of other trials and sees no optuna. Exported scripts take copies of `context`, `batches`, `data/`
and `metrics/` along, so these import torch, accelerate, scikit-learn and the values only.
"""
