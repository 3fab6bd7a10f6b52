"""What is said of a training must not be said surer than it is."""

from __future__ import annotations

import pytest

from benchmarks.finetune import gained
from model.region import Words
from model.training.evaluation import Trial
from model.training.facts import Facts


def trials(said: str) -> list[Trial]:
    """Of cups, one for each letter: c where a cup is called one."""
    cup = Facts("cup", "red", "plain", "small", "top left corner", "grey")
    return [Trial(1.0, cup, cup, {}, Words({"c": "cup"}.get(letter, "coin"), "", "", {})) for letter in said]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("cccc", "cccc", [0.0, 0.0]),
        ("cccc", "ccc-", [-0.25, 0.2165]),
        ("cc--", "--cc", [0.0, 0.5]),
    ],
)
def test_what_is_lost_comes_with_its_error(before: str, after: str, expected: list[float]):
    """Pairwise, so that things which stay right or wrong tell that little changes."""
    assert gained(trials(before), trials(after)) == expected
