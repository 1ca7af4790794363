import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import conv2d

from detr_diff.choices import Channels
from detr_diff.model.fitting import common_part, fit_channels, fit_rows, is_transposed, resampled

channels = st.integers(1, 12)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(channels, channels, st.integers(0, 9))
def test_repeated_channels_answer_a_repeated_image_as_before(own: int, wanted: int, seed: int) -> None:
    kernel, image = drawn(4, own, 3, 3, seed=seed), drawn(1, max(own, wanted), 8, 8, seed=seed)
    # The same values wherever channels fall on each other.
    shared = image[:, : min(own, wanted)]
    theirs = shared[:, torch.arange(own) % shared.shape[1]]
    ours = shared[:, torch.arange(wanted) % shared.shape[1]]
    fitted = fit_channels(kernel, wanted, Channels.repeat)
    assert fitted.shape == (4, wanted, 3, 3)
    torch.testing.assert_close(conv2d(ours, fitted), conv2d(theirs, kernel))


@given(channels, channels, st.integers(0, 9))
def test_mean_channels_answer_a_grey_image_as_before(own: int, wanted: int, seed: int) -> None:
    kernel, grey = drawn(4, own, 3, 3, seed=seed), drawn(1, 1, 8, 8, seed=seed)
    fitted = fit_channels(kernel, wanted, Channels.mean)
    expected = conv2d(grey.expand(-1, own, -1, -1), kernel)
    torch.testing.assert_close(conv2d(grey.expand(-1, wanted, -1, -1), fitted), expected)


def test_the_channels_of_a_stack_are_the_source_s_at_a_third() -> None:
    kernel = drawn(2, 3, 1, 1)
    torch.testing.assert_close(fit_channels(kernel, 9, Channels.repeat), torch.cat([kernel] * 3, 1) / 3)
    torch.testing.assert_close(fit_channels(kernel, 6, Channels.repeat), torch.cat([kernel] * 2, 1) / 2)


@given(st.integers(1, 9), st.integers(1, 30))
def test_rows_come_again_in_order(own: int, wanted: int) -> None:
    table = drawn(own, 2)
    fitted = fit_rows(table, wanted)
    assert fitted.shape == (wanted, 2)
    for row in range(wanted):
        assert torch.equal(fitted[row], table[row % own])


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.data())
def test_the_common_part_is_the_source_s_and_the_rest_our_own(shape: list[int], data: st.DataObject) -> None:
    other = [data.draw(st.integers(1, 5)) for _ in shape]
    source, target = drawn(*shape), drawn(*other, seed=1)
    result = common_part(source, target)
    for place in (
        torch.cartesian_prod(*(torch.arange(size) for size in other)).reshape(-1, len(other)).tolist()
    ):
        inside = all(index < size for index, size in zip(place, shape, strict=True))
        assert result[tuple(place)] == (source if inside else target)[tuple(place)]


@pytest.mark.parametrize("size", [1, 3, 5, 9])
def test_a_resampled_kernel_answers_a_flat_image_as_before(size: int) -> None:
    kernel = torch.full((2, 3, 7, 7), 0.5)
    fitted = resampled(kernel, torch.Size((2, 3, size, size)))
    assert fitted is not None
    torch.testing.assert_close(fitted.sum((2, 3)), kernel.sum((2, 3)))


def test_positions_are_resampled_in_order() -> None:
    table = torch.arange(5.0)[:, None].expand(-1, 2)
    fitted = resampled(table, torch.Size((9, 2)))
    assert fitted is not None
    torch.testing.assert_close(fitted[:, 0], torch.linspace(0, 4, 9))
    assert resampled(table, torch.Size((5, 3))) is None
    assert resampled(table, torch.Size((5, 2, 1))) is None


@pytest.mark.parametrize(
    ("source", "target", "transposed"),
    [((2, 3), (3, 2), True), ((2, 3, 1, 1), (3, 2, 1, 1), True), ((2, 2), (2, 2), False)]
    + [((2, 3, 3, 3), (3, 2, 1, 1), False), ((2,), (3,), False), ((2, 3), (2, 4), False)],
)
def test_transposed_is_the_order_of_dimensions_alone(source: tuple, target: tuple, transposed: bool) -> None:
    assert is_transposed(torch.Size(source), torch.Size(target)) is transposed
