"""A person says what a thing is, in a real Label Studio: the other words come to fit, and theirs stay."""

from __future__ import annotations

import pytest

from backend.demo.running import Demo
from backend.ledger import Ledger
from model.region import FIELDS
from tests.e2e.annotator import Annotator
from tests.e2e.test_ledger import Annotators, wait_for

COIN, NEXT_COIN = (153, 47), (217, 47)
OWN = "Old money."


@pytest.mark.e2e
def test_words_follow_the_human(demo: Demo, annotator: Annotator) -> None:
    """The category of an open click is changed: explanation and caption are redone; a written explanation stays; and
    what was submitted is what the ledger says was offered."""
    work = Annotators(demo, "Words follow")
    task = work.tasks[0]
    annotator.open(work.project, task, 384, 303)
    annotator.switch_on_auto_annotation()
    annotator.choose_smart_point()
    annotator.click(COIN)
    annotator.select_open_click()
    annotator.screenshot("suggestion")
    annotator.say("category", "tetradrachm")
    annotator.screenshot("category_said")
    annotator.accept()
    annotator.select_region(0)
    annotator.screenshot("words_fit")
    first = {field: annotator.read(field) for field in FIELDS}
    annotator.deselect()

    annotator.click(NEXT_COIN)
    annotator.select_open_click()
    annotator.say("explanation", OWN)
    annotator.say("category", "drachm")
    annotator.accept()
    annotator.select_region(1)
    annotator.screenshot("own_explanation_stays")
    second = {field: annotator.read(field) for field in FIELDS}
    annotator.deselect()
    annotator.submit()

    with Ledger(demo.data_dir / "ledger.sqlite") as ledger:
        wait_for(lambda: bool(ledger.annotations_of_task(work.project, task)))
        (annotation,) = ledger.annotations_of_task(work.project, task)
        ids = list(dict.fromkeys(result["id"] for result in annotation.result))
        untold, *_ = ledger.suggestions_of_task(work.project, task)
        accepted = [ledger.suggestion(region_id) for region_id in ids]
    assert untold.category not in ("tetradrachm", "drachm")
    assert first["category"] == "tetradrachm" and "tetradrachm" in first["caption"]
    assert first["explanation"] and first["explanation"] != untold.explanation
    assert second["category"] == "drachm" and second["explanation"] == OWN and "drachm" in second["caption"]
    assert [suggestion and suggestion.offered for suggestion in accepted] == [first, second]
    assert [suggestion and suggestion.sources["category"] for suggestion in accepted] == ["annotator"] * 2
