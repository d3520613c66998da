"""A schedule depends on its seed alone, and every fault can be made from it."""

import json
from random import Random

import pytest

from .faults import REGISTRY
from .schedule import draw_schedule


def test_the_same_seed_gives_the_same_schedule() -> None:
    assert draw_schedule(7, 3) == draw_schedule(7, 3)


def test_another_seed_gives_another_schedule() -> None:
    assert draw_schedule(7, 3) != draw_schedule(8, 3)


def test_a_longer_schedule_begins_as_a_shorter_one() -> None:
    short, long = draw_schedule(7, 2), draw_schedule(7, 4)
    until = short[-1].at - 30
    assert [each for each in short if each.at < until] == [each for each in long if each.at < until]


@pytest.mark.parametrize("seed", range(10))
def test_every_fault_ends_before_the_load_does(seed: int) -> None:
    assert all(0 < each.at <= each.ends_at < 120 for each in draw_schedule(seed, 2))


@pytest.mark.parametrize("seed", range(10))
def test_two_faults_of_one_target_do_not_overlap(seed: int) -> None:
    free: dict[str, float] = {}
    for planned in draw_schedule(seed, 10):
        target = planned.make().target
        assert planned.at >= free.get(target, 0.0)
        free[target] = planned.ends_at


def test_thirty_minutes_have_every_fault_many_times() -> None:
    names = [each.fault for each in draw_schedule(1, 30)]
    assert set(names) == set(REGISTRY)
    assert min(map(names.count, REGISTRY)) >= 10


@pytest.mark.parametrize("name", REGISTRY)
def test_a_fault_is_made_again_from_what_a_record_keeps_of_it(name: str) -> None:
    fault = REGISTRY[name].draw(Random(3))
    kept = json.loads(json.dumps(fault.parameters()))
    assert REGISTRY[name](**kept) == fault
    assert fault.target
    shortest, longest = fault.lasts
    assert 0 <= shortest <= longest
