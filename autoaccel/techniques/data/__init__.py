"""What the model is trained on: augmentation, mixing, selection, curriculum, resolution."""
