"""A Python process apart, for what must be seen from its start: what it imports, and what it prints."""

import os
import subprocess
import sys


def python(code, *options, **environment):
    """What a fresh interpreter with these options prints, with no hub; an assertion error if it fails."""
    done = subprocess.run(
        [sys.executable, *options, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"HF_HUB_OFFLINE": "1"} | environment,
    )
    assert done.returncode == 0, done.stderr
    return done
