"""When a new model may take over: told from figures alone, in words that people can check."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from backend.errors import ModelsError
from backend.models.report import Report, read_report
from backend.models.rule import OLD, changes_of, judge, probability
from tests.backend.models.runs import BETTER, WORSE, Fields, report

HALF = ([0.0, 1.0] * 30, [1.0, 0.0] * 30)
FEW = ([0.2] * 9, [0.1] * 9)


def parsed(fields: Fields) -> Report:
    return Report.model_validate(report("new", fields, "old", 60))


@pytest.mark.parametrize(
    ("fields", "passed", "says"),
    [
        (BETTER, True, "category rose from .50 to .90 on 40 regions, p < .001; mask: no worse"),
        (WORSE, False, "category fell from .90 to .50 on 40 regions, p < .001"),
        ({"category": HALF}, False, "nothing got better beyond noise: category stayed from .50 to .50 on 60 regions"),
        ({"category": ([0.0] * 19, [1.0] * 19)}, False, "only 19 regions were held out, and fewer than 20"),
        ({}, False, "only 0 regions were held out"),
        ({"category": ([None] * 40, [None] * 40)}, False, "only 0 regions"),
        (dict(BETTER) | {"caption": FEW}, False, "caption fell from .20 to .10 on 9 regions"),
        ({"category": HALF, "caption": FEW[::-1]}, False, "nothing got better"),
        ({"mask": ([0.7] * 20, [0.7] * 20)}, False, "mask stayed from .70 to .70 on 20 regions, p = 1.000"),
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


def test_a_change_of_nothing_but_noise_seldom_decides():
    """Of 200 models that are as good as the old one in four fields, and in four of old things, chance carries next to
    none, and keeps back no more than one in five: each of eight fields falls so far in one of forty."""
    luck = np.random.default_rng(0)

    def shown(regions: int) -> dict[str, Any]:
        scores = {name: luck.uniform(0.4, 0.8, (2, regions)).tolist() for name in ("mask", "caption")}
        scores |= {name: luck.integers(0, 2, (2, regions)).tolist() for name in ("category", "explanation")}
        fields = {name: {"metric": "", "before": both[0], "after": both[1]} for name, both in scores.items()}
        return {"regions": regions, "fields": fields}

    carried = kept_back = 0
    for _ in range(200):
        compared = report("new", {}, "old", 60) | {"validation": shown(40), "old_words": shown(60)}
        parsed_report = Report.model_validate(compared)
        carried += judge(parsed_report, least=20).passed
        kept_back += any(change.is_worse for change in changes_of(parsed_report))
    assert carried <= 10 and 10 <= kept_back <= 50


def test_a_loss_counts_however_many_fields_there_are():
    """Seven of twenty categories lost and none won is no noise, and what other fields do makes it none."""
    lost = ([1.0] * 20, [0.0] * 7 + [1.0] * 13)
    gained = ([0.0] * 20, [1.0] * 20)
    verdict = judge(parsed({"category": lost, "explanation": gained}), least=20)
    assert not verdict.passed and "category fell from 1.00 to .65 on 20 regions, p = .016" in verdict.reason
    old = {name: {"metric": "", "before": [1.0] * 60, "after": [0.0] * 6 + [1.0] * 54} for name in "abcd"}
    compared = report("new", {"category": gained}, "old") | {"old_words": {"regions": 60, "fields": old}}
    assert not judge(Report.model_validate(compared), least=20).passed


def test_fields_that_cannot_change_do_not_dilute_a_gain():
    """Masks stay where they are when words alone are trained: they are no chance to get lucky."""
    better = ([0.0] * 20, [1.0] * 7 + [0.0] * 13)
    same = ([0.8] * 20, [0.8] * 20)
    assert judge(parsed({"category": better}), least=20).passed
    assert judge(parsed({"category": better, "mask": same, "caption": same, "explanation": same}), least=20).passed
    few = ([0.0] * 20, [1.0] * 5 + [0.0] * 15)
    assert not judge(parsed({"category": few}), least=20).passed


@pytest.mark.parametrize(("lost", "won", "worse"), [(4, 0, False), (7, 2, False), (13, 1, True)])
def test_few_answers_that_differ_tell_nothing(lost: int, won: int, worse: bool):
    """Heads four times running is no unfair coin: a model is not kept aside for four old things of fifty."""
    same = [1.0] * (50 - lost - won)
    old = {"metric": "share right", "before": [1.0] * lost + [0.0] * won + same}
    old["after"] = [0.0] * lost + [1.0] * won + same
    compared = report("new", BETTER, "old") | {"old_words": {"regions": 50, "fields": {"explanation": old}}}
    (change,) = (one for one in changes_of(Report.model_validate(compared)) if one.of == OLD)
    assert change.is_worse is worse, str(change)


@given(st.integers(0, 13), st.integers(0, 13), st.integers(0, 30))
def test_right_and_wrong_are_told_apart_by_mcnemars_exact_test(lost: int, won: int, same: int):
    """Up to 13 that differ it is exact; beyond, as near as 9999 draws come."""
    found = probability([-1.0] * lost + [1.0] * won + [0.0] * same)
    exact = binomtest(lost, lost + won).pvalue if lost + won else 1.0
    assert found == pytest.approx(exact, abs=1e-9 if lost + won <= 13 else 0.05)


@given(st.lists(st.floats(-1, 1), max_size=60))
def test_a_probability_is_always_the_same(differences: list[float]):
    """A promotion can be checked by anyone who has the report, and which model is called the new one is no matter."""
    found = probability(differences)
    assert 0 < found <= 1 and found == probability(differences)
    assert found == pytest.approx(probability([-one for one in differences]), abs=0.03)


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
