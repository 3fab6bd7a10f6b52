"""The way back, whole: what annotators submitted becomes files that trainers and pycocotools read."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
import yaml
from PIL import Image
from pycocotools.coco import COCO
from skimage import data

from backend import pictures
from backend.errors import ConfigError, ExportError, LabelStudioError
from backend.export import ExportReport, export
from backend.label_studio import LabelStudio
from backend.ledger import Ledger
from backend.masks import bounding_box
from model.prompt import Point
from tests.backend.export.project import (
    CAT,
    COIN,
    CONFIG,
    MEGAPIXEL,
    Studio,
    annotation,
    cat_mask,
    coin_masks,
    fetch,
    photograph,
    results,
    suggestion,
    task,
    two_tasks,
)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    with Ledger(tmp_path / "data" / "ledger.sqlite") as opened:
        yield opened


def run(ledger: Ledger, out: Path, *tasks: dict) -> ExportReport:
    return export(1, out, ledger, Studio(*tasks), fetch, max_pixels=MEGAPIXEL)


def records(out: Path, name: str) -> list[dict]:
    return [json.loads(line) for line in (out / name).read_text(encoding="utf-8").splitlines()]


def coco(out: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(out / "coco.json"))


def test_corrections_become_records_images_and_coco(ledger: Ledger, tmp_path: Path) -> None:
    """One folder that a trainer takes as it is: every listed file is there, every record points at a real image."""
    first, second, *_ = coin_masks()
    y, x = np.argwhere(first)[len(np.argwhere(first)) // 2]
    ledger.record_suggestion(suggestion("c1", first, Point(x + 0.4, y + 0.6), Point(0, 0, positive=False)))
    out = tmp_path / "regions"
    report = run(ledger, out, *two_tasks())

    listed = yaml.safe_load((out / "datasets.yaml").read_text())["datasets"]
    assert {entry["sampling_strategy"] for entry in listed} == {"all"}
    names = [entry["json_path"] for entry in listed]
    assert names == ["brief_cap_ch.jsonl", "brief_cap_en.jsonl", "explain_en.jsonl", "recognize_en.jsonl"]
    written = {name: records(out, name) for name in names}
    assert {name: len(rows) for name, rows in written.items()} == dict(report.records)
    assert [row["conversations"][1]["value"] for row in written["recognize_en.jsonl"]] == ["coin", "coin", "Cat."]
    assert [row["conversations"][1]["value"] for row in written["brief_cap_ch.jsonl"]] == [CAT[2]]

    coin, _, cat = written["recognize_en.jsonl"]
    x0, y0, x1, y1 = bounding_box(first)
    assert coin["bbox"] == [x0, y0, x1 - x0, y1 - y0]
    assert (coin["points"][:2], coin["labels"][:2]) == ([[x, y], [0, 0]], [1, 0])
    for row, photo in ((coin, photograph("coins")), (cat, photograph("chelsea", "PNG"))):
        assert (out / row["image"]).read_bytes() == photo
        assert Path(row["image"]).name.startswith(hashlib.sha256(photo).hexdigest()[:16] + ".")

    api = coco(out)
    masks = [api.annToMask(entry).astype(bool) for entry in api.loadAnns(sorted(api.getAnnIds()))]
    for mask, expected in zip(masks, (first, second, cat_mask()), strict=True):
        assert (mask == expected).all()
    assert sorted(category["name"] for category in api.cats.values()) == ["cat", "coin"]
    assert {image["file_name"] for image in api.imgs.values()} == {coin["image"], cat["image"]}

    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["records"] == dict(report.records)
    assert (manifest["regions"], manifest["images"], manifest["tasks"]) == (3, 2, 2)
    assert manifest["model_versions"] == {"nano-1": 1}
    assert manifest["left_out"] == []


def test_the_export_holds_what_label_studio_holds_now(ledger: Ledger, tmp_path: Path) -> None:
    """A webhook got lost, an annotation was deleted, one was skipped: Label Studio's own list decides."""
    mask = coin_masks()[0]
    out = tmp_path / "regions"
    missed = annotation(11, results("missed", mask, COIN))
    deleted = annotation(12, results("deleted", mask, COIN))
    skipped = annotation(13, results("skipped", mask, COIN), cancelled=True)
    address = "/data/upload/1/coins.jpg"
    for one in (deleted, skipped):
        payload = {"annotation": one | {"task": 1, "project": 1}, "task": task(1, address)}
        ledger.journal("ANNOTATION_CREATED", payload)
    report = run(ledger, out, task(1, address, missed, skipped))
    (row,) = records(out, "recognize_en.jsonl")
    assert row["id"] == "1-1-11-missed"
    assert (report.regions, report.annotations, report.cancelled) == (1, 1, 1)


def test_what_cannot_be_had_is_reported_and_the_rest_exported(ledger: Ledger, tmp_path: Path) -> None:
    """One lost photograph among thousands must not stop an export, and nobody may wonder where its regions are."""
    mask = coin_masks()[0]
    coins = "/data/upload/1/coins.jpg"
    of_another_size = annotation(14, results("small", mask[:100, :100], COIN))
    report = run(
        ledger,
        tmp_path / "regions",
        task(1, coins, annotation(11, results("good", mask, COIN), results("empty", mask & False, COIN))),
        task(2, "/data/upload/1/lost.jpg", annotation(12, results("a", mask, COIN), results("b", mask, COIN))),
        task(3, coins, of_another_size),
        task(4, coins, annotation(15, results("unnamed", mask, ("", "Money.", "")))),
    )
    assert [(one.task_id, one.region_id, one.reason) for one in report.left_out] == [
        (1, "empty", "its mask is empty"),
        (2, None, "/data/upload/1/lost.jpg answered 404: the file is gone"),
        (3, "small", "it was drawn on 100 x 100 pixels, but the image has 384 x 303"),
        (4, "unnamed", "its explanation has no category to go with it: it is in coco.json only"),
    ]
    assert report.regions == 2
    assert len(coco(tmp_path / "regions").anns) == 2
    summary = report.summary()
    assert f'2 regions of project 1 "PAM demo" exported to {tmp_path / "regions"}' in summary
    assert "4 things could not be exported:" in summary
    assert "  task 1, annotation 11, region empty: its mask is empty" in summary


def test_a_damaged_image_is_left_out(ledger: Ledger, tmp_path: Path) -> None:
    """A truncated file would only be found out in the middle of somebody's training."""
    whole = photograph("coins")
    tasks = [task(1, "a", annotation(11, results("r", coin_masks()[0], COIN)))]
    out, studio = tmp_path / "out", Studio(*tasks)
    report = export(1, out, ledger, studio, lambda *_: whole[: len(whole) // 2], max_pixels=MEGAPIXEL)
    assert report.regions == 0 and len(report.left_out) == 1
    assert list((tmp_path / "out" / "images").iterdir()) == []


@pytest.mark.parametrize("address", ["http://[x/y.jpg", "http://127.0.0.1:99999999/x", "http://хх\u200d/\ud800.jpg"])
def test_a_malformed_address_costs_one_task(ledger: Ledger, tmp_path: Path, address: str) -> None:
    """Addresses come from whoever imported the tasks: the other tasks are exported, and the report can be printed."""

    def fetch_image(address: str, task_id: int) -> bytes:
        return fetch(address, task_id) if task_id == 2 else pictures.fetch(address, task_id, None, limits)

    limits = pictures.FetchLimits(1 << 20, 10.0)
    malformed = task(1, address, annotation(11, results("r", cat_mask(), CAT)))
    studio = Studio(malformed, two_tasks()[1])
    report = export(1, tmp_path / "out", ledger, studio, fetch_image, max_pixels=MEGAPIXEL)
    assert [one.task_id for one in report.left_out] == [1]
    assert report.regions == 1
    report.summary().encode()


def test_what_has_too_many_pixels_is_left_out(ledger: Ledger, tmp_path: Path) -> None:
    """The one limit of the settings holds for masks and for images: neither is read into memory beyond it."""
    out, mask = tmp_path / "out", cat_mask()
    too_large = annotation(11, results("r", mask, CAT))
    smaller = annotation(12, results("s", mask[:100], CAT))
    studio = Studio(*(task(id, "/data/upload/1/cat.png", one) for id, one in ((1, too_large), (2, smaller))))
    report = export(1, out, ledger, studio, fetch, max_pixels=mask.size - 1)
    assert [(one.task_id, one.region_id, one.reason) for one in report.left_out] == [
        (1, "r", "it is said to lie on 451 x 300 pixels, more than the 135299 that are read"),
        (2, None, "the image has 451 x 300 pixels, more than the 135299 that are read"),
    ]
    assert list((out / "images").iterdir()) == []


def test_an_image_is_stored_once(ledger: Ledger, tmp_path: Path) -> None:
    """Two tasks may show the same photograph under two addresses."""
    mask = coin_masks()[0]
    report = run(
        ledger,
        tmp_path / "regions",
        task(1, "/data/upload/1/coins.jpg", annotation(11, results("a", mask, COIN))),
        task(2, "/data/upload/1/again.jpg", annotation(12, results("b", mask, COIN))),
    )
    assert (report.tasks, report.images) == (2, 1)
    assert len(list((tmp_path / "regions" / "images").iterdir())) == 1
    assert len(coco(tmp_path / "regions").imgs) == 1


def test_an_image_that_lies_on_its_side_is_exported_as_it_was_annotated(ledger: Ledger, tmp_path: Path) -> None:
    """Label Studio shows a phone's photograph upright; a trainer that ignores EXIF would see it in another frame."""
    upright = np.rot90(data.chelsea(), k=-1)
    mask = np.zeros(upright.shape[:2], dtype=bool)
    mask[20:120, 30:200] = True
    out = tmp_path / "regions"
    report = run(ledger, out, task(1, "/data/upload/1/turned.jpg", annotation(11, results("r", mask, CAT))))
    assert report.left_out == ()
    with Image.open(out / records(out, "recognize_en.jsonl")[0]["image"]) as image:
        assert image.getexif().get(0x0112, 1) == 1
        stored = np.asarray(image)
    assert stored.shape == upright.shape
    assert np.abs(stored.astype(int) - upright).mean() < 6
    (entry,) = coco(out).imgs.values()
    assert (entry["height"], entry["width"]) == mask.shape


def test_an_empty_project_exports_to_an_empty_data_set(ledger: Ledger, tmp_path: Path) -> None:
    """The first export is often made before the first annotation."""
    report = run(ledger, tmp_path / "regions")
    assert report.regions == 0
    assert yaml.safe_load((tmp_path / "regions" / "datasets.yaml").read_text()) == {"datasets": []}
    assert coco(tmp_path / "regions").anns == {}


class Failing(Studio):
    """A Label Studio that goes down after its first task."""

    def tasks(self, project_id: int) -> Iterator[dict]:
        yield self.listed[0]
        raise LabelStudioError("http://localhost:8080 cannot be reached: connection refused")


def test_a_label_studio_that_goes_down_costs_nothing(ledger: Ledger, tmp_path: Path) -> None:
    """Half a list must neither replace the export nor delete from the ledger what stood in the other half."""
    out = tmp_path / "regions"
    run(ledger, out, *two_tasks())
    before = contents(out)
    with pytest.raises(LabelStudioError, match="connection refused"):
        export(1, out, ledger, Failing(*two_tasks()), fetch, max_pixels=MEGAPIXEL)
    assert contents(out) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        (tmp_path / "regions").readlink().name, ".regions.lock", "data", "regions",
    ]  # fmt: skip
    assert [[a.id for a in of_task] for of_task in ledger.annotations_by_task(1)] == [[11], [12]]


class HttpStudio(ThreadingHTTPServer):
    """Label Studio's part of the conversation over real HTTP; it goes away for good when `gone_at` is asked for."""

    def __init__(self, gone_at: str | None = None):
        self.gone_at, self.is_gone = gone_at, False
        super().__init__(("127.0.0.1", 0), Answer)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert isinstance(self.server, HttpStudio)
        address = urlsplit(self.path)
        self.server.is_gone |= address.path == self.server.gone_at
        if self.server.is_gone:
            self.connection.close()
            return
        if address.path.startswith("/data/"):
            self.answer("image/jpeg", fetch(address.path, 0))
        elif address.path == "/api/tasks/":
            (first,) = json.loads(parse_qs(address.query)["query"][0])["filters"]["items"]
            page = [one for one in two_tasks() if one["id"] > first["value"]]
            self.answer("application/json", json.dumps({"tasks": page}).encode())
        else:
            project = {"id": 1, "title": "PAM demo", "label_config": CONFIG}
            self.answer("application/json", json.dumps(project).encode())

    def answer(self, kind: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.mark.parametrize("gone_at", [None, "/api/tasks/", "/data/upload/1/coins.jpg", "/data/upload/1/cat.png"])
def test_over_http_an_export_is_whole_or_not_at_all(ledger: Ledger, tmp_path: Path, gone_at: str | None) -> None:
    """Label Studio goes down at some point: an image that it holds back must not pass for an image that is lost."""
    out = tmp_path / "regions"
    run(ledger, out)
    before = contents(out)
    limits = pictures.FetchLimits(1 << 20, 10.0)
    with HttpStudio(gone_at) as server:
        studio = LabelStudio(server.url, "token", timeout=5.0, backoff=0.01)

        def fetch_image(address: str, task_id: int) -> bytes:
            return pictures.fetch(address, task_id, studio, limits)

        def over_http() -> ExportReport:
            return export(1, out, ledger, studio, fetch_image, max_pixels=MEGAPIXEL)

        if gone_at is None:
            assert over_http().regions == 3
        else:
            with pytest.raises(LabelStudioError, match=f"{server.url} cannot be used"):
                over_http()
            assert contents(out) == before
        server.shutdown()


def test_other_failures_leave_the_old_export_whole(ledger: Ledger, tmp_path: Path) -> None:
    """A broken config and a task list that cannot be understood are told apart, and neither touches what is there."""
    out = tmp_path / "regions"
    run(ledger, out, *two_tasks())
    before = contents(out)
    with pytest.raises(ConfigError):
        export(1, out, ledger, Studio(*two_tasks(), config="<View>"), fetch, max_pixels=MEGAPIXEL)
    with pytest.raises(LabelStudioError, match="task 1 came without its list of annotations"):
        export(1, out, ledger, Studio({"id": 1, "data": {}}), fetch, max_pixels=MEGAPIXEL)
    assert contents(out) == before


def test_a_folder_of_somebody_else_is_refused_before_label_studio_is_asked(ledger: Ledger, tmp_path: Path) -> None:
    """`--out ~/photos` must not cost the photographs."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "mine.jpg").write_bytes(b"precious")
    with pytest.raises(ExportError, match="photos is there already and is no export of PAM Studio"):
        export(1, tmp_path / "photos", ledger, Failing(*two_tasks()), fetch, max_pixels=MEGAPIXEL)
    assert (tmp_path / "photos" / "mine.jpg").read_bytes() == b"precious"


def test_progress_is_told(ledger: Ledger, tmp_path: Path) -> None:
    """A project of ten thousand tasks takes minutes: the terminal shows how far it is."""
    told: list[tuple[str, int]] = []
    studio = Studio(*two_tasks())
    export(1, tmp_path / "out", ledger, studio, fetch, lambda *step: told.append(step), max_pixels=MEGAPIXEL)
    assert told == [("reading Label Studio", 2), ("writing regions", 1), ("writing regions", 2)]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below `folder`."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
