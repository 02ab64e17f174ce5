"""The dealer, with workers that are threads: every task is answered once, whatever fails."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any, NamedTuple

import pytest
from task_twins import DIE, NEVER, ThreadPool

from neurolocal.config import ScaleConfig
from neurolocal.errors import NeurolocalError
from neurolocal.scale.cluster import ScaleError
from neurolocal.scale.deal import Dealer, Done
from neurolocal.scale.pool import Failed
from neurolocal.stage import Failure


class Square(NamedTuple):
    n: int

    def __str__(self) -> str:
        return f"square {self.n}"


class Squares:
    """A worker."""

    def load(self) -> None:
        return None

    def do(self, task: Square) -> Done:
        return Done(task.n**2, ["the same line of every worker"])


def deal(n: int, fault: Any = lambda *_: None, *, workers: int = 3, said: list[str] | None = None, **scale: Any) -> Any:
    said = [] if said is None else said
    settings = ScaleConfig(**({"engine": "ray", "slow": NEVER} | scale))
    dealer = Dealer(ThreadPool(Squares, fault), settings, workers=workers, name="squares", say=said.append)
    return dealer.answers(map(Square, range(n)))


def test_every_task_is_answered_once() -> None:
    said: list[str] = []
    found = list(deal(40, said=said))
    assert dict(found) == {Square(n): n**2 for n in range(40)}
    assert len(found) == 40
    assert said == ["the same line of every worker"]
    assert list(deal(0)) == []


def test_tasks_are_taken_as_workers_get_free() -> None:
    taken = 0

    def tasks() -> Any:
        nonlocal taken
        for n in range(100):
            taken += 1
            yield Square(n)

    dealer = Dealer(ThreadPool(Squares), ScaleConfig(engine="ray"), workers=2, name="squares", say=print)
    answers = dealer.answers(tasks())
    for _ in range(10):
        next(answers)
    assert taken <= 10 + 2 + 2


def test_workers_that_die_are_replaced() -> None:
    tried: Counter[int] = Counter()
    said: list[str] = []

    def fault(worker: int, method: str, arguments: tuple[Any, ...]) -> Any:
        if method != "do":
            return None
        tried[arguments[0].n] += 1
        return DIE if arguments[0].n % 5 == 0 and tried[arguments[0].n] == 1 else None

    assert dict(deal(20, fault, said=said)) == {Square(n): n**2 for n in range(20)}
    assert tried == Counter({n: 2 if n % 5 == 0 else 1 for n in range(20)})
    assert sum("is gone; another one takes its place" in line for line in said) == 4


@pytest.mark.parametrize("how", ["dies", "fails"])
def test_what_fails_three_times_is_set_aside_and_nothing_else(how: str) -> None:
    said: list[str] = []

    def fault(worker: int, method: str, arguments: tuple[Any, ...]) -> Any:
        if method != "do" or arguments[0].n != 7:
            return None
        if how == "dies":
            return DIE
        raise ValueError("a bad number")

    found = dict(deal(10, fault, said=said))
    failed = found.pop(Square(7))
    assert found == {Square(n): n**2 for n in range(10) if n != 7}
    assert isinstance(failed, Failure)
    assert failed.why == ("its worker died (Test)" if how == "dies" else "ValueError: a bad number")
    assert f"squares: square 7 failed (3 of 3) and is set aside: {failed.why}" in said
    assert sum("square 7 failed" in line for line in said) == 3


def test_an_error_that_every_worker_would_have_ends_the_job() -> None:
    with pytest.raises(NeurolocalError, match="no such file"):
        list(deal(10, lambda w, method, _: Failed("no such file", True) if method == "do" else None))
    with pytest.raises(NeurolocalError, match="no such file"):
        list(deal(10, lambda w, method, _: Failed("no such file", True) if method == "load" else None))


def test_where_no_worker_can_begin_it_says_why() -> None:
    with pytest.raises(ScaleError, match=r"no worker could begin; the last one: its worker died"):
        list(deal(10, lambda w, method, _: DIE if method == "load" else None))
    one_cannot = deal(10, lambda w, method, _: DIE if method == "load" and w == 1 else None)
    assert dict(one_cannot) == {Square(n): n**2 for n in range(10)}


def test_a_task_that_hangs_is_begun_by_another_worker() -> None:
    hangs, begun = threading.Event(), Counter[int]()

    def fault(worker: int, method: str, arguments: tuple[Any, ...]) -> Any:
        if method == "do":
            begun[arguments[0].n] += 1
            if arguments[0].n == 2 and begun[2] == 1:
                hangs.wait(600)

    try:
        assert dict(deal(12, fault, slow=1.5)) == {Square(n): n**2 for n in range(12)}
        assert begun[2] == 2
    finally:
        hangs.set()
