"""What became of suggestions is counted once, follows each change, and is shown in full."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from typer.testing import CliRunner

from backend import settle as settling
from backend.cli import app
from backend.ledger import Ledger, Project
from backend.stats.collect import collect
from backend.stats.course import MASK, POINTS
from backend.stats.page import page
from backend.stats.rows import tables
from backend.stats.tally import Stats
from backend.suggestion import Suggestion
from model.prompt import Point
from tests.backend.annotated_project import CAT, COIN, CONFIG, coin_masks, results, suggestion

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
FIRST, SECOND, *_ = coin_masks()
MENDED = FIRST | np.roll(FIRST, 3, axis=1)


def suggested(region_id: str, mask=FIRST, words=COIN, minute: int = 0, version="nano-1", task=1, at=()) -> Suggestion:
    return replace(
        suggestion(region_id, mask, *at),
        **dict(zip(("category", "explanation", "caption"), words, strict=True)),
        task_id=task,
        created_at=NOON + timedelta(minutes=minute),
        model_version=version,
        seconds=0.5,
    )


def submit(ledger: Ledger, id: int, *regions: list[dict], task=1, minute: int = 10, cancelled=False) -> None:
    moment = (NOON + timedelta(minutes=minute)).isoformat()
    state = {
        "id": id, "task": task, "project": 1, "result": [result for region in regions for result in region],
        "was_cancelled": cancelled, "created_at": moment, "updated_at": moment,
    }  # fmt: skip
    ledger.journal("ANNOTATION_UPDATED", {"annotation": state, "task": {"id": task, "data": {"image": "/a.jpg"}}})


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A task with one region of each fate, one that was skipped, and one on which work goes on."""
    with Ledger(tmp_path / "ledger.sqlite") as opened:
        opened.remember_project(Project(1, CONFIG))
        clicks = Point(1.0, 1.0), Point(2.0, 2.0)
        for made in (
            suggested("kept"),
            suggested("mended"),
            suggested("reworded", version="nano-2"),
            suggested("unwanted", minute=3),
            suggested("on the way", minute=4, at=clicks[:1]),
            suggested("refined", SECOND, minute=5, at=clicks),
            suggested("skipped", task=2),
            suggested("pending", task=3, minute=30),
        ):
            opened.record_suggestion(made)
        damaged = results("damaged", FIRST, COIN)
        damaged[0]["value"]["rle"] = [1, 2, 3]
        submit(
            opened, 1,
            results("kept", FIRST, COIN), results("mended", MENDED, COIN),
            results("reworded", FIRST, ("silver coin", "", COIN[2])), results("refined", SECOND, COIN),
            results("by hand", SECOND, CAT), damaged,
        )  # fmt: skip
        submit(opened, 2, results("skipped", FIRST, COIN), task=2, cancelled=True)
        submit(opened, 3, task=3)
        yield opened


def fates(stats: Stats) -> dict[str | None, Counter[str]]:
    return {version: +tally.fates for version, tally in stats.models.items()}


def test_each_fate_is_told_from_the_others(ledger: Ledger) -> None:
    stats = collect(ledger, ledger.projects(), 1_000_000)
    assert fates(stats) == {
        "nano-1": Counter(accepted=2, corrected=1, rejected=1, refined=1, open=2),
        "nano-2": Counter(corrected=1),
        None: Counter(drawn=1, unreadable=1),
    }
    assert {name: +tally.fates for name, tally in stats.categories.items()} == {
        "coin": Counter(accepted=2, corrected=1, rejected=1),
        "silver coin": Counter(corrected=1),
        "Cat.": Counter(drawn=1),
    }
    assert stats.models["nano-1"].acceptance == 0.5
    held = stats.holdings[1]
    assert (held.annotations, held.cancelled, held.tasks, held.suggestions) == (3, 1, 3, 8)


def test_fields_are_counted_by_what_became_of_them(ledger: Ledger) -> None:
    stats = collect(ledger, [1], 1_000_000)
    reworded = {name: stats.fields["nano-2", name] for name in ("category", "explanation", "caption")}
    assert (reworded["category"].changed, reworded["explanation"].emptied, reworded["caption"].kept) == (1, 1, 1)
    assert reworded["category"].change.value == pytest.approx(7 / 11)
    mask = stats.fields["nano-1", MASK]
    iou = (FIRST & MENDED).sum() / (FIRST | MENDED).sum()
    assert (mask.kept, mask.changed) == (2, 1)
    assert mask.change.value == pytest.approx((1 - iou) / 3)
    assert stats.corrected_iou == {int(iou * 20): 1}


def test_the_course_shows_each_model_and_field_in_time(tmp_path: Path) -> None:
    """Words that are mended less and less under one model, and a second one that needs no mending."""
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        ledger.remember_project(Project(1, CONFIG))
        for number in range(120):
            version = "zz-1" if number < 60 else "aa-2"
            made = suggested(f"r{number}", minute=3 * number, version=version, task=100 + number)
            ledger.record_suggestion(made)
            words = COIN if number >= 60 or number % 60 > 29 else ("cup", *COIN[1:])
            submit(ledger, 1000 + number, results(f"r{number}", FIRST, words), task=100 + number, minute=3 * number + 1)
        stats = collect(ledger, [1], 1_000_000)
        points = stats.course.points()
        assert [p.model_version for p in points] == ["zz-1"] * 12 + ["aa-2"] * 12 and len(points) == POINTS
        assert [p.shares["category"] for p in points] == [0.0] * 6 + [1.0] * 18
        assert all(p.shares["mask"] == p.shares["caption"] == 1 for p in points)
        assert [p.before for p in points] == list(range(0, 120, 5)) and {p.decided for p in points} == {5}
        models = tables(stats)[1].rows
        assert [row[0] for row in models] == ["zz-1", "aa-2"], "in the order in which they came"
        course = tables(stats)[2].rows
        assert course[0] == ["2026-11-22 12:00 zz-1", "5", "0 %", "100 %", "0 %", "100 %", "100 %"]
        (tmp_path / "stats.html").write_text(page(stats, NOON))


def test_a_change_is_followed_and_nothing_is_worked_out_twice(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A correction of a correction, a deleted task, and a skipped task that was done after all."""
    collect(ledger, [1], 1_000_000)
    compared: list[str] = []
    compare = settling.compare
    monkeypatch.setattr(
        settling, "compare", lambda region, *rest: compared.append(region.region_id) or compare(region, *rest)
    )
    collect(ledger, [1], 1_000_000)
    assert compared == []
    submit(ledger, 2, results("skipped", FIRST, COIN), task=2, minute=40)
    ledger.journal("TASKS_DELETED", {"tasks": [{"id": 1}], "project": {"id": 1}})
    submit(ledger, 4, task=3, minute=41)
    stats = collect(ledger, [1], 1_000_000)
    assert compared == ["skipped"]
    assert fates(stats) == {
        "nano-1": Counter(accepted=1, refined=1, rejected=1, open=4), "nano-2": Counter(open=1),
    }  # fmt: skip


def test_another_config_is_another_comparison(ledger: Ledger) -> None:
    """Without its tag, a caption is neither kept nor emptied."""
    collect(ledger, [1], 1_000_000)
    tag = '<TextArea name="caption" toName="image" perRegion="true"/>\n'
    assert tag in CONFIG
    ledger.remember_project(Project(1, CONFIG.replace(tag, "")))
    stats = collect(ledger, [1], 1_000_000)
    assert {name for _, name in stats.fields} == {MASK, "category", "explanation"}


def test_a_project_without_a_config_is_named(ledger: Ledger) -> None:
    ledger.record_suggestion(replace(suggested("elsewhere"), project_id=7))
    stats = collect(ledger, ledger.projects(), 1_000_000)
    assert stats.without_config == [7]
    assert "No labelling config is known of project 7" in tables(stats)[0].note


def test_the_page_stands_alone(ledger: Ledger) -> None:
    """It is sent by mail and opened years later: no address is asked, and what annotators wrote is only text."""
    submit(ledger, 5, results("odd", FIRST, ("<script>alert(1)</script> $x^$ 硬币", "", "")), minute=50)
    text = page(collect(ledger, [1], 1_000_000), NOON)
    assert text.count("<svg") == 5
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; $x^$ 硬币" in text
    addresses = set(re.findall(r'(?:src|href)="([^"#][^"]*)"', text))
    assert addresses == set()
    for svg in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        ElementTree.fromstring(svg)


def test_an_empty_ledger_has_statistics_too(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        stats = collect(ledger, ledger.projects(), 1_000_000)
    assert [table.rows for table in tables(stats)] == [[], [], [], [], [], []]
    text = page(stats, NOON)
    assert "<svg" not in text and text.count("Nothing yet.") == 6


def test_many_categories_become_one_row(ledger: Ledger) -> None:
    """An open vocabulary has thousands."""
    for number in range(40):
        submit(ledger, 100 + number, results(f"r{number}", SECOND, (f"thing {number}", "", "")), task=50, minute=60)
    rows = tables(collect(ledger, [1], 1_000_000))[5].rows
    assert len(rows) == 26
    assert rows[-1][0] == "18 others"
    assert sum(int(row[4]) for row in rows) == 41


@pytest.mark.parametrize("columns", [80, 200])
def test_the_command_shows_tables_and_writes_the_page(ledger: Ledger, tmp_path: Path, columns: int) -> None:
    """Every number is whole in the narrowest usual terminal, however long the name of a model is."""
    model = "Perceive-Anything/PAM-3B@0123456789abcdef0123456789abcdef"
    ledger.record_suggestion(suggested("long", version=model, task=9))
    submit(ledger, 5, results("odd", FIRST, ("[red]markup[/red]", "", "")), results("long", FIRST, COIN), task=9)
    out = tmp_path / "stats.html"
    command = ["stats", "--data-dir", str(tmp_path), "--html", str(out)]
    result = CliRunner().invoke(app, command, env={"COLUMNS": str(columns)})
    assert result.exit_code == 0, result.output
    assert max(map(len, result.output.splitlines())) <= max(columns, len(str(out)) + 40)
    for words in ("By model version", "nano-1", "By field", "By category", "[red]markup", "boundary px"):
        assert words in result.output
    for table in tables(collect(ledger, [1], 1_000_000)):
        assert all(cell in result.output for row in table.rows for cell in row[1:])
    assert "…" not in result.output
    assert out.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_folder_without_a_ledger_is_told_and_stays_empty(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["stats", "--data-dir", str(tmp_path / "none")])
    assert "there is no folder" in str(result.exception)
    assert not (tmp_path / "none").exists()
