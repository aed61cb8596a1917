"""How one budget is turned into weights: a task, a recipe's techniques and a budget in, a trained model out.

It knows nothing of other trials and sees no optuna. What is here (but for `trial_run` and `discovery`) is also
what an exported training script is made of, so it imports torch, accelerate, scikit-learn and the values only.
"""
