"""A backend for joblib, whose workers are those of `ringipc.ProcessPoolExecutor`. It imports joblib, if it is used."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

from joblib import cpu_count, register_parallel_backend, wrap_non_picklable_objects
from joblib.parallel import AutoBatchingMixin, FallbackToBackend, ParallelBackendBase, SequentialBackend

from .executor import ProcessPoolExecutor

__all__ = ["register"]

_executors: dict[tuple[int, str], ProcessPoolExecutor] = {}  # by their workers and start method; kept until the end


def _executor_of(workers: int, start_method: str) -> ProcessPoolExecutor:
    executor = _executors.get((workers, start_method))
    if executor is None or executor._broken or executor._shutdown_thread:
        executor = ProcessPoolExecutor(workers, multiprocessing.get_context(start_method))
        _executors[workers, start_method] = executor
    return executor


def _picklable(function: Any) -> Any:
    """Return a function that can be pickled, also for one that is defined in another one."""
    if "<" in getattr(function, "__qualname__", ""):  # <lambda>, <locals>
        return wrap_non_picklable_objects(function, keep_wrapper=False)
    return function


class _Backend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]
    supports_retrieve_callback = True

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None or multiprocessing.current_process().daemon:  # which cannot have children
            return 1
        return n_jobs if n_jobs > 0 else max(cpu_count() + 1 + n_jobs, 1)

    def configure(self, n_jobs: int | None = 1, parallel: Any = None, **_options: Any) -> int:
        workers = self.effective_n_jobs(n_jobs)
        if workers == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        self.parallel = parallel
        self._executor = _executor_of(workers, self.backend_kwargs["start_method"])
        return workers

    def submit(self, batch: Any, callback: Callable[[Any], Any] | None = None) -> "Future[Any]":
        batch.items = [(_picklable(function), *arguments) for function, *arguments in batch.items]
        future = self._executor.submit(batch)
        if callback is not None:
            future.add_done_callback(callback)
        return future

    def retrieve_result_callback(self, future: "Future[Any]") -> Any:
        return future.result()

    def terminate(self) -> None:
        self.reset_batch_stats()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        self._executor.shutdown(wait=False, cancel_futures=True)
        if ensure_ready:
            self.configure(n_jobs=self.parallel.n_jobs, parallel=self.parallel)


def register(name: str = "ringipc", *, start_method: str = "spawn", make_default: bool = False) -> None:
    """Register the backend with joblib.

    The workers are kept for the next call with as many jobs, until the program ends.

    Parameters
    ----------
    name
        For ``joblib.parallel_config(name)``.
    start_method
        Of the workers, as for `multiprocessing.get_context`.
    make_default
        True: joblib uses this backend where none is named.

    Examples
    --------
    >>> import joblib, ringipc.joblib
    >>> ringipc.joblib.register()
    >>> with joblib.parallel_config("ringipc"):
    ...     joblib.Parallel(2)(joblib.delayed(abs)(k) for k in range(-3, 0))
    [3, 2, 1]
    """
    register_parallel_backend(name, partial(_Backend, start_method=start_method), make_default=make_default)
