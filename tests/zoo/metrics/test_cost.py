import pytest

from zoo.metrics.cost import tpme

SECONDS, PARAMETERS, MEMORY = [443.0, 365.0, 22.0], [200e6, 4e6, 4e6], [47.0, 38.0, 3.0]
"""Full fine-tuning, LoRA and IISAN, roughly as published."""


def test_by_hand() -> None:
    lora = 0.45 * 343 / 421 + 0.10 * 0 + 0.45 * 35 / 44
    assert tpme(SECONDS, PARAMETERS, MEMORY) == pytest.approx([1.0, lora, 0.0])
    assert lora == pytest.approx(0.724582, abs=1e-6)


def test_other_weights() -> None:
    assert tpme(SECONDS, PARAMETERS, MEMORY, (0.0, 1.0, 0.0)) == pytest.approx([1.0, 0.0, 0.0])
    assert tpme([1.0, 2.0, 3.0], [3, 2, 1], [0, 0, 1], (0.5, 0.25, 0.25)) == pytest.approx(
        [0.25, 0.375, 0.75]
    )


def test_what_is_equal_counts_for_nothing() -> None:
    assert tpme([2.0, 2.0], [5, 5], [1.0, 1.0]) == [0.0, 0.0]
    assert tpme([2.0], [5], [1.0]) == [0.0]
    assert tpme([], [], []) == []


def test_the_values_belong_to_the_set() -> None:
    assert tpme(SECONDS[1:], PARAMETERS[1:], MEMORY[1:])[0] == pytest.approx(0.9)


@pytest.mark.parametrize("weights", [(0.5, 0.5), (0.5, 0.6, -0.1), (0.5, 0.5, 0.5)])
def test_weights_that_are_no_shares(weights: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="three weights, of time, parameters and memory"):
        tpme([1.0], [1], [1.0], weights)


def test_lists_of_different_length() -> None:
    with pytest.raises(ValueError, match="found 2 times, 1 numbers of parameters and 1 of memory"):
        tpme([1.0, 2.0], [1], [1.0])
