"""A function over tasks on a Ray cluster: this machine's cores, or several machines'. Needs the extra `ray`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from taintwatch.footage.processes import LOOK_S, MOST_TRIES, Results, Task
from taintwatch_models.errors import TaintwatchError, UsageError

__all__ = ["run_on_cluster"]


def run_on_cluster(
    function: Callable[[Any], Any],
    tasks: Sequence[Task],
    workers: int,
    stopping: Callable[[], bool] = lambda: False,
) -> Results:
    """Yield (place in `tasks`, result) as they end. `stopping()` and closing the generator cancel what is left.

    The cluster is the one that runs already, or that the environment's RAY_ADDRESS names; else one is started on this
    machine and ended afterwards. `workers` tasks run at once at most (0: as many as the cluster has cores). Paths in
    arguments must mean the same on every machine. Ray does a task again whose worker or machine was lost. Raises as
    `run_in_processes` does; `UsageError` where Ray is not installed or no cluster can be reached.
    """
    try:
        import ray
    except ImportError:
        raise UsageError("the engine 'ray' needs Ray; install it with pip install 'taintwatch[ray]'") from None
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report to its makers
    started = not ray.is_initialized()
    if started:
        try:
            ray.init(include_dashboard=False, log_to_driver=False, logging_level="error", configure_logging=False)
        except Exception as error:  # Ray raises of all kinds, plain `Exception` too
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise UsageError(f"no Ray cluster can be reached or started ({reason[0]})") from None
    try:
        yield from _spread(ray, function, tasks, workers, stopping)
    finally:
        if started:
            ray.shutdown()


def _spread(
    ray: Any, function: Callable[[Any], Any], tasks: Sequence[Task], workers: int, stopping: Callable[[], bool]
) -> Results:
    remote = ray.remote(num_cpus=1, max_retries=MOST_TRIES - 1)(function)
    waiting = iter(range(len(tasks)))
    running: dict[Any, int] = {}
    room = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
    try:
        while not stopping():
            while len(running) < room and (place := next(waiting, None)) is not None:
                running[remote.remote(tasks[place].argument)] = place
            if not running:
                return
            for reference in ray.wait(list(running), num_returns=1, timeout=LOOK_S)[0]:
                place = running.pop(reference)
                yield place, _result(ray, reference, tasks[place])
    finally:
        for reference in running:
            ray.cancel(reference, force=True)


def _result(ray: Any, reference: Any, task: Task) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, TaintwatchError):
            raise cause from None
        raise
    except ray.exceptions.RayError as error:
        raise TaintwatchError(
            f"{task.key}: its worker was lost {MOST_TRIES} times ({type(error).__name__}); leave it out, or watch it "
            "by itself to see why"
        ) from None
