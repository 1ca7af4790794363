from hypothesis import given
from hypothesis import strategies as st

from detr_diff.data.ahead import ahead, threads
from detr_diff.data.loading import cores


@given(st.lists(st.integers(), max_size=50))
def test_results_come_in_order_and_few_are_under_way(items: list[int]) -> None:
    begun: list[int] = []

    def begin(item: int) -> str:
        begun.append(item)
        return str(item)

    for number, (item, result) in enumerate(ahead(items, begin)):
        assert (item, result) == (items[number], str(item))
        assert len(begun) <= number + 1 + 2 * cores()
    assert begun == items


def test_an_error_ends_what_has_not_begun() -> None:
    done: list[int] = []

    def work(item: int) -> None:
        if item == 0:
            raise ValueError(item)
        done.append(item)

    try:
        with threads() as pool:
            for _, future in ahead(range(10_000), lambda item: pool.submit(work, item)):
                future.result()
    except ValueError:
        assert len(done) <= 2 * cores()
    else:
        raise AssertionError("the error was lost")
