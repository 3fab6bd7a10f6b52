"""Background jobs: a queue on disk, one job at a time in a process of its own, whatever becomes of the server."""

from backend.jobs.job import Job, Progress, State
from backend.jobs.queue import JobQueue

__all__ = ["Job", "JobQueue", "Progress", "State"]
