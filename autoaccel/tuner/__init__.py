"""A run of `tune`, from the profile to the delivered model."""
