"""When a new model may take over: told from figures alone, in words that people can check."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import ModelsError
from backend.models.report import Report, read_report
from backend.models.rule import interval, judge
from tests.backend.models.runs import BETTER, WORSE, Fields, report

HALF = ([0.0, 1.0] * 30, [1.0, 0.0] * 30)
FEW = ([0.2] * 5, [0.1] * 5)


def parsed(fields: Fields) -> Report:
    return Report.model_validate(report("new", fields, "old", 60))


@pytest.mark.parametrize(
    ("fields", "passed", "says"),
    [
        (BETTER, True, "category rose from .50 to .90 on 40 regions, 95% interval +.25 to +.55; mask: no worse"),
        (WORSE, False, "category fell from .90 to .50 on 40 regions, 95% interval -.55 to -.25"),
        ({"category": HALF}, False, "nothing got better beyond noise: category stayed from .50 to .50 on 60 regions"),
        ({"category": ([0.0] * 19, [1.0] * 19)}, False, "only 19 regions were held out, and fewer than 20"),
        ({}, False, "only 0 regions were held out"),
        ({"category": ([None] * 40, [None] * 40)}, False, "only 0 regions"),
        (dict(BETTER) | {"caption": FEW}, False, "caption fell from .20 to .10 on 5 regions"),
        ({"category": HALF, "caption": FEW[::-1]}, False, "nothing got better"),
        ({"mask": ([0.7] * 20, [0.7] * 20)}, False, "mask stayed from .70 to .70 on 20 regions, 95% interval +.00"),
        ({"mask": ([0.9] * 20, [1.0] * 20)}, True, "mask rose from .90 to 1.00 on 20 regions"),
    ],
)
def test_no_field_worse_and_one_better(fields: Fields, passed: bool, says: str):
    """A field that is seldom filled in can keep a model back, but cannot carry it."""
    verdict = judge(parsed(fields), least=20)
    assert (verdict.passed, says in verdict.reason) == (passed, True), verdict.reason


@pytest.mark.parametrize(
    ("before", "after", "passed", "says"),
    [
        ([1.0] * 60, [1.0] * 45 + [0.0] * 15, False, "category fell from 1.00 to .75 on 60 drawn things that it knew"),
        ([1.0] * 60, [1.0] * 59 + [0.0], True, "category rose from .50 to .90 on 40 regions"),
        ([0.0] * 60, [1.0] * 60, True, "category rose from .50 to .90 on 40 regions"),
        ([None] * 60, [None] * 60, True, "category rose"),
    ],
)
def test_what_it_knew_before_can_keep_it_back(before: list, after: list, passed: bool, says: str):
    """A model that says a project's words and has forgotten all others does not take over."""
    old = {"regions": 60, "fields": {"category": {"metric": "share right", "before": before, "after": after}}}
    verdict = judge(Report.model_validate(report("new", BETTER, "old") | {"old_words": old}), least=20)
    assert (verdict.passed, says in verdict.reason) == (passed, True), verdict.reason


def test_old_words_alone_carry_no_model():
    """Better at what nobody corrected is not better for the project."""
    old = {"regions": 60, "fields": {"category": {"metric": "share right", "before": [0.0] * 60, "after": [1.0] * 60}}}
    assert not judge(Report.model_validate(report("new", {"category": HALF}, "old") | {"old_words": old}), 20).passed


def test_a_change_of_nothing_but_noise_seldom_passes():
    """Of 200 models that are as good as the old one, chance may promote few: one field, 2.5% on that side."""
    chance = np.random.default_rng(0)
    passed = sum(
        judge(parsed({"mask": (chance.uniform(0.4, 0.8, 60), chance.uniform(0.4, 0.8, 60))}), 20).passed
        for _ in range(200)
    )
    assert passed <= 12


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=60))
def test_the_interval_is_around_the_mean_and_always_the_same(differences: list[float]):
    """A promotion can be checked by anyone who has the report."""
    values = np.array(differences)
    low, high = interval(values)
    assert low - 1e-9 <= values.mean() <= high + 1e-9 and values.min() - 1e-9 <= low <= high <= values.max() + 1e-9
    assert interval(values) == (low, high)


def one_field(before: list[float], after: list[float]) -> dict[str, Any]:
    return {"validation": {"regions": 1, "fields": {"mask": {"metric": "IoU", "before": before, "after": after}}}}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"base": None}, "base: Input should be a valid string"),
        (one_field([0.1], []), "must be the same"),
        (one_field([2], [1]), "less than"),
        (one_field([float("nan")], [1]), "finite"),
        ({"data": {"path": "x", "train": -1, "validation": 0}}, "train"),
    ],
)
def test_a_report_that_is_none_is_refused(tmp_path: Path, change: dict[str, Any], says: str):
    """What a file says of itself is checked before a model takes over on its word."""
    path = tmp_path / "report.json"
    path.write_text(json.dumps(report("new") | change))
    with pytest.raises(ModelsError) as error:
        read_report(path)
    assert says in error.value.message and str(path) in error.value.message


@pytest.mark.parametrize("content", [None, b"", b"[1, 2", b"[]", b"\xff\xfe"])
def test_a_file_that_is_no_report_is_refused(tmp_path: Path, content: bytes | None):
    """A training that was killed, and a disk that was full."""
    if content is not None:
        (tmp_path / "report.json").write_bytes(content)
    with pytest.raises(ModelsError, match="report.json"):
        read_report(tmp_path / "report.json")
