"""Train one recipe within one budget: a task, techniques and a budget in, saved weights out.

It knows nothing of other trials and never imports optuna. The modules that `export.script` lists also make up the
exported training scripts, so they import only torch, Accelerate, scikit-learn, their dependencies and `autoaccel`.
"""
