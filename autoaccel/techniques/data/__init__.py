"""Techniques that change the training data: augmentation, mixing, selection, curriculum, resolution."""
