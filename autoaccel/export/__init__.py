"""A recipe in forms that others read. Works on values and sources as text; trains nothing."""
