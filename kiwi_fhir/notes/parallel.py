"""Several things fetched at a time, and given out in their order."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import TypeVar

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


def in_order(work: Callable[[ItemT], ResultT], items: Sequence[ItemT], workers: int) -> Iterator[ResultT]:
    """`work` of each item, `workers` at a time. Raises what `work` raises, at that item's turn.

    The threads are daemons, as one that waits for an answer can't be stopped: it must not hold up the end of the
    program, nor of a reader that goes away.
    """
    todo = [(item, Future[ResultT]()) for item in items]
    left, lock, stop = iter(todo), threading.Lock(), threading.Event()

    def run() -> None:
        while not stop.is_set():
            with lock:
                item, future = next(left, (None, None))
            if item is None or future is None:
                return
            try:
                future.set_result(work(item))
            except BaseException as error:
                future.set_exception(error)

    for _ in range(min(workers, len(todo))):
        threading.Thread(target=run, daemon=True).start()
    try:
        for _, future in todo:
            yield future.result()
    finally:
        stop.set()
