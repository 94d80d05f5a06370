"""Asyncio jobs that begin or end together. For every layer; main thread."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from itertools import islice
from typing import Any, TypeVar

T = TypeVar("T")


async def all_of(jobs: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Return all answers, or raise the first error once every job has ended: none keeps running behind."""
    answers = await asyncio.gather(*jobs, return_exceptions=True)
    errors = [answer for answer in answers if isinstance(answer, BaseException)]
    if not errors:
        return answers  # type: ignore[return-value]
    try:
        raise errors[0]
    finally:
        # Its traceback holds this frame, and those of the jobs: without this, whatever these refer to, a
        # libvirt handle for one, would stay until the garbage collector comes.
        del answers, errors


async def end_all(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """Cancel the tasks, and wait until each has ended, however it does."""
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def all_in_turn(jobs: Iterable[Coroutine[Any, Any, T]], limit: int) -> list[T]:
    """Return all answers as they come, from at most so many jobs at a time; or raise the first error once
    every job under way has ended.

    jobs: made one by one, as their turns come.
    """
    answers: list[T] = []
    left = iter(jobs)

    async def one_after_the_other() -> None:
        for job in left:
            answers.append(await job)

    await all_of(one_after_the_other() for _ in range(limit))
    return answers


async def in_steps(items: Iterable[T], size: int) -> AsyncIterator[list[T]]:
    """Yield all items, so many at a time, with a turn of the loop for everything else after each step."""
    left = iter(items)
    while some := list(islice(left, size)):
        yield some
        await asyncio.sleep(0)
