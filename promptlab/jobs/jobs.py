"""Independent work: described as plain JSON, done in this process or in many, kept by the hash of its description."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from promptlab.core.errors import JobError, PromptlabError, UnknownNameError
from promptlab.core.files import to_json
from promptlab.core.finished_work import work_key
from promptlab.core.json_loader import Json
from promptlab.jobs.workspace import Workspace

MARK = "job.json"
RETRIES = 3  # times that Ray begins a job again whose worker died


@dataclass(frozen=True)
class Job:
    """A piece of work that needs nothing but its settings and a workspace.

    Args:
        name: what messages call it; no part of its identity.
        task: ``module:function`` of what does it, called with the settings, an empty folder for the result and the
            workspace.
        settings: plain JSON: everything that the result depends on, data by their hash.
    """

    name: str
    task: str
    settings: Mapping[str, Json]

    @classmethod
    def of(cls, name: str, function: Callable[..., None], settings: Mapping[str, object]) -> Job:
        """The job that a function of a module does.

        Raises:
            SavedModelError: if a setting can't be written as JSON.
        """
        return cls(name, f"{function.__module__}:{function.__name__}", json.loads(to_json(settings)))

    @cached_property
    def key(self) -> str:
        """The hash of task and settings, in their order, which can matter: soft tokens may start from the classes'."""
        return work_key(self.task, json.dumps(self.settings))


def check_workers(executor: str, workers: int | None) -> None:
    """Refuse what ``run`` can't work with.

    Raises:
        JobError: if there can't be so many workers.
        UnknownNameError: if there is no such executor.
    """
    if executor not in EXECUTORS:
        raise UnknownNameError("executor", executor, EXECUTORS)
    if workers is not None and workers < 1:
        raise JobError(f"workers={workers} must be at least 1, or None for one for each core.")
    if workers is not None and workers > 1 and executor == "serial":
        raise JobError(
            f"workers={workers} has no use with executor 'serial'; choose 'joblib' or 'ray', or leave it out."
        )


def is_finished(job: Job, workspace: Workspace) -> bool:
    return workspace.entry(job.key).exists


def run(
    jobs: Sequence[Job],
    workspace: Workspace,
    *,
    executor: str = "serial",
    workers: int | None = None,
    done: Callable[[int], object] = lambda n: None,
) -> list[Path]:
    """Do what isn't done yet; returns the folders of the results, in order.

    A result appears whole or not at all, so that a run that was killed goes on where it stopped.

    Args:
        executor: ``"serial"``, in this process; ``"joblib"``, in processes of this machine (or of a backend that
            ``joblib.parallel_config`` names); ``"ray"``, on a Ray cluster.
        workers: jobs at a time; None for as many as the machine has cores.
        done: called with the number of jobs that are finished since the last call.

    Raises:
        JobError: if a job fails or its worker dies, naming it; what is finished is kept. If joblib's backend has
            threads. As ``check_workers`` does.
        UnknownNameError: if there is no such executor.
    """
    check_workers(executor, workers)
    by_key = {job.key: job for job in jobs}
    waiting = [job for job in by_key.values() if not is_finished(job, workspace)]
    done(len(jobs) - len(waiting))
    for _ in EXECUTORS[executor](waiting, workspace, workers or os.cpu_count() or 1):
        done(1)
    return [workspace.result(job.key) for job in jobs]


def work(job: Job, workspace: Workspace) -> None:
    """Do one job, unless somebody else has done it since.

    Raises:
        JobError: whatever went wrong, with the job's name.
    """
    if is_finished(job, workspace):
        return
    try:
        module, function = job.task.split(":")
        with workspace.entry(job.key).filling(MARK) as folder:
            getattr(importlib.import_module(module), function)(job.settings, folder, workspace)
            text = json.dumps({"name": job.name, "task": job.task, "settings": job.settings})
            (folder / MARK).write_text(text, encoding="utf-8")
    except Exception as error:
        kind = "" if isinstance(error, PromptlabError) else f"{type(error).__name__}: "
        reason = " ".join(str(error).split()).rstrip(".")
        raise JobError(f"{job.name} failed: {kind}{reason}. {workspace.resume_hint}") from error


def _serial(jobs: Sequence[Job], workspace: Workspace, workers: int) -> Iterator[None]:
    for job in jobs:
        work(job, workspace)
        yield


def _joblib(jobs: Sequence[Job], workspace: Workspace, workers: int) -> Iterator[None]:
    from joblib import Parallel, delayed
    from joblib.externals.loky.process_executor import BrokenProcessPool
    from joblib.parallel import get_active_backend

    backend, _ = get_active_backend()
    if getattr(backend, "supports_sharedmem", False):
        raise JobError(
            f"joblib's backend {type(backend).__name__} runs jobs in threads of one process, which would share one "
            "random generator; choose a backend of processes, such as 'loky'."
        )
    calls = (delayed(work)(job, workspace) for job in jobs)  # joblib shares the cores out among its workers
    try:
        yield from Parallel(n_jobs=workers, return_as="generator_unordered", batch_size=1)(calls)
    except BrokenProcessPool as error:
        raise _died(jobs, workspace, type(error).__name__) from error


def _ray(jobs: Sequence[Job], workspace: Workspace, workers: int) -> Iterator[None]:
    try:
        import ray  # type: ignore[import-not-found]
    except ImportError:
        raise JobError(
            "executor 'ray' needs the package ray; install it with pip install 'promptlab[ray]', or use 'joblib'."
        ) from None
    if not ray.is_initialized():
        ray.init(num_cpus=workers, include_dashboard=False)
    threads = max(1, (os.cpu_count() or 1) // workers)
    remote = ray.remote(num_cpus=1, max_retries=RETRIES)(_work_on_ray)
    waiting = {remote.remote(job, workspace, threads): job for job in jobs}
    try:
        while waiting:
            (finished, *_), _ = ray.wait(list(waiting))
            job = waiting.pop(finished)
            try:
                yield ray.get(finished)
            except ray.exceptions.RayTaskError as error:
                raise error.cause from error
            except ray.exceptions.RayError as error:
                raise _died([job], workspace, type(error).__name__) from error
    finally:  # after a failure nobody waits for the others
        for unfinished in waiting:
            ray.cancel(unfinished)


EXECUTORS: Mapping[str, Callable[[Sequence[Job], Workspace, int], Iterator[None]]] = {
    "serial": _serial,
    "joblib": _joblib,
    "ray": _ray,
}


def _work_on_ray(job: Job, workspace: Workspace, threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
    work(job, workspace)


def _died(jobs: Sequence[Job], workspace: Workspace, reason: str) -> JobError:
    at_work = [job.name for job in jobs if workspace.entry(job.key).is_begun]
    names = " or ".join(at_work) or "one of " + ", ".join(j.name for j in jobs if not is_finished(j, workspace))
    return JobError(
        f"a worker process died ({reason}) at work on {names}; often memory ran out: use fewer workers. "
        f"{workspace.resume_hint}"
    )
