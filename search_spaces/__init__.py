"""Search spaces and known-good recipes as YAML, installed as `autoaccel.search_spaces`."""
