"""Search spaces: the recipes that a search may propose."""
