"""Seeds: every purpose has streams of its own."""

from asr_parallel.training.init_model import initial_seeds
from asr_parallel.training.minibatches import Purpose, counted_seed


def test_purposes_have_different_numbers_and_streams() -> None:
    numbers = [purpose.value for purpose in Purpose.__members__.values()]
    assert len(set(numbers)) == len(numbers) == 6
    streams = {tuple(counted_seed(7, purpose, 1).generate_state(4)) for purpose in Purpose}
    assert len(streams) == len(numbers)


def test_workers_that_start_apart_leave_the_first_as_it_is() -> None:
    seeds = initial_seeds(5, range(4))
    assert seeds[0] == 5 and len(set(seeds)) == 4
    assert initial_seeds(5, [2, 0]) == [seeds[2], 5]
