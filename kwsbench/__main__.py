"""``python -m kwsbench``."""

from kwsbench.cli import main

main()
