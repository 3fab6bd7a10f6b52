"""The card, pictures and Croissant metadata: read by Hugging Face's, Pillow's and MLCommons' own readers."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import mlcroissant
import numpy as np
import pytest
from huggingface_hub import DatasetCard
from PIL import Image

from backend.dataset.formats import FORMATS, card, contact_sheet, fonts, histograms, selected
from tests.backend.dataset.formats.samples import FACTS, of_masks, photographs, region, write


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample data set in all formats."""
    folder = tmp_path_factory.mktemp("version")
    write(folder, photographs(), FORMATS, whole=True)
    return folder


def test_hugging_face_reads_the_block(version: Path) -> None:
    """Languages, sizes and splits are what a search on the hub goes by."""
    block = DatasetCard.load(version / card.FILE).data.to_dict()
    assert block["language"] == ["en", "zh"] and block["size_categories"] == ["n<1K"]
    assert block["task_categories"] == ["image-segmentation", "mask-generation", "image-to-text"]
    assert block["pretty_name"] == "PAM Studio regions: Coins & cats"
    splits = block["dataset_info"]["splits"]
    assert [(split["name"], split["num_examples"]) for split in splits] == [("train", 3), ("validation", 1)]
    sizes = {s: sum(f.stat().st_size for f in version.glob(f"parquet/{s}-*.parquet")) for s in ("train", "validation")}
    assert {split["name"]: split["num_bytes"] for split in splits} == sizes


@pytest.mark.parametrize(
    "line",
    [
        "| all | 4 | 6 |",
        "| train | 3 | 5 |",
        "| category | 4 | 1 | 1 |",
        "| caption | 3 | 1 | 2 |",
        "| coin | 2 |",
        "| 猫 | 1 |",
        "| corrected | 1 | 16.7% |",
        "| nano-1 | 4 | 1 | 80.0% |",
        "- 4 regions have no click or box: PAM's records have sampled points there",
        "- 3 annotations were cancelled by their annotators and are left out",
        "- left out (picture): 2",
        "- project 1: Coins & cats",
    ],
)
def test_the_card_counts(version: Path, line: str) -> None:
    """Regions by split, category and language, outcomes, acceptance by model, and what is missing."""
    assert line in (version / card.FILE).read_text(encoding="utf-8").splitlines()


def test_files_and_pictures_that_the_card_names_are_there(version: Path) -> None:
    """A card must not promise what was not asked for."""
    text = (version / card.FILE).read_text(encoding="utf-8")
    for name in (contact_sheet.FILE, histograms.FILE, "datasets.yaml", "croissant.json", "data.yaml"):
        assert name in text and (version / name).is_file()
    assert "datasets_video.yaml" not in text


def test_names_that_people_typed_cannot_break_the_card(tmp_path: Path) -> None:
    """A project or category may be called anything."""
    facts = replace(FACTS, projects={7: 'Evil | <b> "title": - [x](y)\n---\nlicense: mit'})
    items = of_masks(np.ones((3, 3), dtype=bool))
    ((image, (one,)), content) = items["train-all"][0]
    items["train-all"][0] = ((image, (replace(one, category="a | b\n<script>", model_version="m`1"),)), content)
    write(tmp_path, items, ["coco"], facts=facts)
    loaded = DatasetCard.load(tmp_path / card.FILE)
    assert loaded.data.license == "unknown" and "license: mit" in loaded.data.pretty_name
    assert "<script>" not in loaded.text and "\n---\n" not in loaded.text
    assert "| a \\| b \\<script\\> | 1 |" in loaded.text.splitlines()


def test_the_croissant_validator_finds_no_error(version: Path) -> None:
    """What it recommends and cannot be known here (licence, citation, date, version) is all that it warns of."""
    dataset = mlcroissant.Dataset(jsonld=version / "croissant.json")
    assert dataset.metadata.ctx.issues.errors == set()
    warnings = "\n".join(dataset.metadata.ctx.issues.warnings)
    assert len(dataset.metadata.ctx.issues.warnings) == 4
    assert all(word in warnings for word in ("license", "citeAs", "datePublished", "version"))


def test_croissant_leads_to_the_records(version: Path) -> None:
    """The metadata is right only if a loader that knows nothing else finds images and regions by it."""
    dataset = mlcroissant.Dataset(jsonld=version / "croissant.json")
    regions = list(dataset.records("regions-train"))
    assert sorted(one["regions-train/caption"] for one in regions) == sorted(
        text.encode() for text in ("", "", "A worn coin.", "Two green eyes. They look at something.", "一枚硬币")
    )
    images = list(dataset.records("images-train"))
    assert sorted((row["images-train/image"].width, row["images-train/width"]) for row in images) == [
        (384, 384), (451, 451), (512, 512),
    ]  # fmt: skip


def test_croissant_describes_only_what_is_there(tmp_path: Path) -> None:
    """Without COCO and Parquet there is still a valid file."""
    write(tmp_path, photographs(), ["yolo"], whole=True)
    dataset = mlcroissant.Dataset(jsonld=tmp_path / "croissant.json")
    assert dataset.metadata.ctx.issues.errors == set() and dataset.metadata.record_sets == []


def test_the_contact_sheet_shows_every_region_of_a_small_set(version: Path) -> None:
    """Six cells with a tinted mask each; cells of other regions would look alike if the mask were not drawn."""
    sheet = np.asarray(Image.open(version / contact_sheet.FILE).convert("RGB")).astype(int)
    assert sheet.shape == (2 * 330, 4 * 320, 3)
    outlines = (np.abs(sheet - (255, 110, 0)) <= 2).all(axis=2)
    cells = [outlines[r : r + 330, c : c + 320].sum() for r in (0, 330) for c in range(0, 1280, 320)]
    assert all(count > 50 for count in cells[:6]) and not any(cells[6:])
    assert Image.open(version / histograms.FILE).size == (1200, 720)


def test_letters_that_no_font_has_are_told_and_not_drawn_as_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chinese on a machine without a Chinese font."""
    monkeypatch.setattr(fonts, "_system_fonts", lambda: ())
    assert fonts.readable("一枚硬币") == "[4 letters, no font here has them]"
    assert fonts.readable("A coin, été") == "A coin, été"
    assert fonts.font_of("一枚硬币").name == fonts.font_of("A coin").name == "DejaVuSans.ttf"


def test_a_font_that_has_the_letters_is_found_and_a_damaged_one_passed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The first font of the machine that covers all of a text is taken."""
    (tmp_path / "broken-cjk.ttf").write_bytes(b"no font")
    symbols = fonts.font_of("A").with_name("STIXSizOneSymReg.ttf")
    letter = chr(max(fonts._characters(symbols) - fonts._characters(fonts.font_of("A"))))
    monkeypatch.setattr(fonts, "_system_fonts", lambda: (tmp_path / "broken-cjk.ttf", symbols))
    assert fonts.font_of(letter) == symbols and fonts.readable(letter) == letter


def test_texts_of_any_length_fit_their_cell(tmp_path: Path) -> None:
    """A caption of a hundred thousand letters, with spaces and without, must cost neither minutes nor the picture."""
    mask = np.ones((9, 9), dtype=bool)
    long = [region(mask, i, ("x" * 10**5, "", text)) for i, text in enumerate(["word " * 20_000, "币" * 10**5])]
    items = of_masks(mask)
    ((image, _), content) = items["train-all"][0]
    write(tmp_path, {"train-all": [((image, tuple(long)), content)]}, [], whole=True)
    assert Image.open(tmp_path / contact_sheet.FILE).size == (640, 330)


@pytest.mark.parametrize("formats", [(), tuple(FORMATS)], ids=["none", "all"])
def test_an_empty_data_set_is_whole(tmp_path: Path, formats: tuple[str, ...]) -> None:
    """A project without annotations is no error."""
    written = write(tmp_path, {}, formats, whole=True)
    assert all((tmp_path / name).is_file() for name in written)
    assert "| all | 0 | 0 |" in (tmp_path / card.FILE).read_text()


def test_two_builds_are_equal_to_the_byte(version: Path, tmp_path: Path) -> None:
    """Every file, pictures and tars among them, and every file that is there was reported."""
    written = write(tmp_path, photographs(), FORMATS, whole=True)
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {*written, *(name for name in files if name.startswith("images/"))}
    assert len(written) == len(set(written))
    for name in files:
        assert (tmp_path / name).read_bytes() == (version / name).read_bytes(), name


def test_an_older_version_is_never_written_through_a_link(version: Path, tmp_path: Path) -> None:
    """Versions share files: to write one anew must not change the other."""
    before = {path: path.read_bytes() for path in version.rglob("*") if path.is_file()}
    for path in before:
        (tmp_path / path.relative_to(version)).parent.mkdir(parents=True, exist_ok=True)
        os.link(path, tmp_path / path.relative_to(version))
    shards = photographs()
    contents = {image.path: content for items in shards.values() for (image, _), content in items}
    for module in selected(list(FORMATS)):
        items = [(image, regions[:1]) for (image, regions), _ in shards["train-0"]]
        module.write_shard(tmp_path, "train-0", items, lambda image: contents[image.path])
    for module in selected(list(FORMATS)):
        module.finish(tmp_path, sorted(shards), FACTS, version)
    assert {path: path.read_bytes() for path in before} == before
    assert "| all | 4 | 4 |" in (tmp_path / card.FILE).read_text()
