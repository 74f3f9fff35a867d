"""How the nano encoders are trained, from the packages to the files: ``python -m kwsbench_plugins.nano.recipe``.

README.md beside this file says what was run by this code and what was not.
"""
