"""Train one recipe within one budget: a task, techniques and a budget in, saved weights out.

It knows nothing of other trials and never imports optuna. Exported scripts copy `context`, `batches`, `data/` and
`metrics/`, so these import only torch, Accelerate, scikit-learn and the values that need no other package.
"""
