"""Three plugins of one package."""
