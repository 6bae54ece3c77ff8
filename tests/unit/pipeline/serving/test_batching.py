import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, Histogram

from pipeline.serving.batching import Batcher
from pipeline.serving.errors import RequestError
from pipeline.serving.ranking import Query, Ranking

pytestmark = pytest.mark.unit

BAD = 13


class Computer:
    """Ranks item k first; a batch with k = 13 fails as a whole. Can be held up."""

    def __init__(self):
        self.sizes = []
        self.go = threading.Event()
        self.go.set()

    def __call__(self, queries):
        self.sizes.append(len(queries))
        self.go.wait(10)
        if any(query.k == BAD for query in queries):
            raise RequestError("unlucky")
        return [Ranking(np.array([query.k]), np.array([1.0])) for query in queries]


@pytest.fixture
def computer():
    return Computer()


def run(computer, body, calls=1, queries=4):
    async def main():
        with ThreadPoolExecutor(2) as pool:
            sizes = Histogram("sizes", "of batches", registry=CollectorRegistry())
            return await body(Batcher(computer, pool, calls, queries, sizes))

    return asyncio.run(main())


async def ask(batcher, k):
    ranking = await batcher.submit(Query({}, np.zeros(0, int), k))
    return int(ranking.rows[0])


def test_queries_that_come_together_are_one_batch_and_each_gets_its_own_answer(computer):
    async def body(batcher):
        return await asyncio.gather(*(ask(batcher, k) for k in range(10)))

    assert run(computer, body) == list(range(10))
    assert computer.sizes == [4, 4, 2]


def test_a_query_alone_waits_for_nobody(computer):
    assert run(computer, lambda batcher: ask(batcher, 7)) == 7
    assert computer.sizes == [1]


def test_queries_gather_while_others_are_computed(computer):
    async def body(batcher):
        computer.go.clear()
        first = asyncio.create_task(ask(batcher, 0))
        while not computer.sizes:
            await asyncio.sleep(0.001)
        others = [asyncio.create_task(ask(batcher, k)) for k in (1, 2, 3)]
        await asyncio.sleep(0.01)
        assert computer.sizes == [1]
        computer.go.set()
        return await asyncio.gather(first, *others)

    assert run(computer, body) == [0, 1, 2, 3]
    assert computer.sizes == [1, 3]


def test_a_query_that_fails_does_not_spoil_the_others(computer):
    async def body(batcher):
        return await asyncio.gather(*(ask(batcher, k) for k in (1, BAD, 2)), return_exceptions=True)

    first, bad, last = run(computer, body)
    assert (first, last) == (1, 2)
    assert isinstance(bad, RequestError)


def test_a_client_that_went_away_disturbs_nobody(computer):
    async def body(batcher):
        computer.go.clear()
        tasks = [asyncio.create_task(ask(batcher, k)) for k in (1, 2)]
        while not computer.sizes:
            await asyncio.sleep(0.001)
        tasks[0].cancel()
        computer.go.set()
        return await tasks[1], await ask(batcher, 3)

    assert run(computer, body) == (2, 3)
