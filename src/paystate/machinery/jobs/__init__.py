"""Jobs: the rows are the queue, and the database is the engine.

A schedule's tick is a unique row, a run is held by a lease with a claim number, and its end counts only under that number.
"""

from paystate.machinery.jobs.catalogue import Catalogue, Change, Current
from paystate.machinery.jobs.declare import Job, Run, Trigger, job, registry
from paystate.machinery.jobs.engine import JobEngine, JobProblem, log_problem
from paystate.machinery.jobs.history import Health, JobStats, RunView, one_run, running, runs, stats

__all__ = [
    "Catalogue",
    "Change",
    "Current",
    "Health",
    "Job",
    "JobEngine",
    "JobProblem",
    "JobStats",
    "Run",
    "RunView",
    "Trigger",
    "job",
    "log_problem",
    "one_run",
    "registry",
    "running",
    "runs",
    "stats",
]
