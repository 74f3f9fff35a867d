"""The protocols of published studies, as run files without a data set (see docs/recipes.md)."""
