"""``kwsbench run`` on a Slurm cluster. Copy this file, fill in the first lines, and give it the arguments of a run:

    pip install 'kwsbench[cluster]' dask-jobqueue
    python slurm.py --dataset manifest:path=/shared/archive --encoder xlsr-53@9 --board /shared/board

It stays in the foreground (use tmux, or a job of its own) and ends when the run does; started again, it goes on.
"""

import subprocess
import sys

from dask_jobqueue import SLURMCluster

JOBS = 4
JOB = {
    "queue": "compute",  # sinfo lists them
    "account": None,
    "cores": 32,
    "processes": 32,  # as many as cores: each task uses one
    "memory": "128GB",  # of a job; each process holds up to --memory and about 1 GB besides
    "walltime": "08:00:00",
    "interface": None,  # the network that nodes share, such as ib0; ip link lists them
    "job_extra_directives": [],  # for encoders: ["--gres=gpu:1"], with "cores" and "processes" 1
    "job_script_prologue": ["source /shared/venv/bin/activate", "export KWSBENCH_CACHE=/shared/kwsbench"],
    "worker_extra_args": ["--lifetime", "7h", "--lifetime-stagger", "10m"],  # tasks are handed on before the wall time
}


def main() -> int:
    """Start the jobs, run, and end them; the run's exit code."""
    with SLURMCluster(**JOB) as cluster:
        cluster.scale(jobs=JOBS)
        run = [sys.executable, "-m", "kwsbench", "run", *sys.argv[1:], "--scheduler", cluster.scheduler_address]
        return subprocess.run(run, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
