"""Queries that wait at the same time are computed by one call of the model."""

import asyncio
import functools
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from prometheus_client import Histogram

from pipeline.serving.ranking import Query, Ranker, Ranking


class Batcher:
    """Collects queries while others are computed: nothing waits for a batch to fill.

    A call of the model takes nearly as long for one query as for some tens, so that under load this answers
    many times as many, and alone a query is answered at once.
    """

    def __init__(
        self, rank: Ranker, pool: ThreadPoolExecutor, calls: int, queries: int, sizes: Histogram
    ) -> None:
        """Wait for queries.

        Args:
            rank: What computes a batch, on a thread of the pool.
            pool: The threads.
            calls: The most batches that are computed at the same time.
            queries: The most queries of a batch.
            sizes: Where the sizes of the batches are counted.
        """
        self._rank, self._pool, self._calls, self._queries = rank, pool, calls, queries
        self._sizes = sizes
        self._waiting: deque[tuple[Query, asyncio.Future[Ranking]]] = deque()
        self._running = 0
        self._is_starting = False

    async def submit(self, query: Query) -> Ranking:
        """Rank the items of a query; called on the event loop.

        Args:
            query: The query.

        Returns:
            Its best items.

        Raises:
            RequestError: As the ranker does.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Ranking] = loop.create_future()
        self._waiting.append((query, future))
        if not self._is_starting:
            # What other connections have sent is read first, and goes into the same batch.
            self._is_starting = True
            loop.call_soon(self._start, loop)
        return await future

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._is_starting = False
        while self._waiting and self._running < self._calls:
            size = min(len(self._waiting), self._queries)
            batch = [self._waiting.popleft() for _ in range(size)]
            self._running += 1
            self._sizes.observe(size)
            done = loop.run_in_executor(self._pool, _rank_each, self._rank, [query for query, _ in batch])
            done.add_done_callback(functools.partial(self._finish, loop, batch))

    def _finish(
        self,
        loop: asyncio.AbstractEventLoop,
        batch: list[tuple[Query, asyncio.Future[Ranking]]],
        done: "asyncio.Future[list[Ranking | Exception]]",
    ) -> None:
        self._running -= 1
        self._start(loop)
        error = asyncio.CancelledError() if done.cancelled() else done.exception()
        answers = [error] * len(batch) if error is not None else done.result()
        for (_, future), answer in zip(batch, answers, strict=True):
            # A client that went away has cancelled its own.
            if future.done():
                continue
            if isinstance(answer, BaseException):
                future.set_exception(answer)
            else:
                future.set_result(answer)


def _rank_each(rank: Ranker, queries: Sequence[Query]) -> list[Ranking | Exception]:
    """Rank all at once, or each alone where that fails, so that one does not spoil the others."""
    try:
        return list(rank(queries))
    except Exception as error:
        if len(queries) == 1:
            return [error]
    return [_rank_each(rank, [query])[0] for query in queries]
