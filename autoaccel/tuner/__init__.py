"""One run of `tune`, from the profile to what is delivered."""
