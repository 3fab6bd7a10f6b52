"""The command line, as people type it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from backend import masks
from backend.ledger import Ledger
from backend.settings import Settings

PROGRAM = Path(sys.executable).parent / "pam-studio"


def pam_studio(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `pam-studio` in a terminal of 200 columns."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PAM_STUDIO", "LABEL_STUDIO"))}
    return subprocess.run(
        [PROGRAM, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env=env | {"COLUMNS": "200", "TERM": "dumb"} | environment,
    )


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photograph of coins on disk, 384 x 303."""
    path = tmp_path_factory.mktemp("photo") / "coins.png"
    Image.fromarray(data.coins()).save(path)
    return path


def test_predict_prints_json_and_draws(photo: Path, tmp_path: Path):
    """A click and a negative one: mask, box and words as JSON, and a picture with all of it."""
    picture = tmp_path / "overlay.png"
    result = pam_studio("predict", photo, "--point", "153,47", "--negative", "188,75", "--save", picture)
    assert result.returncode == 0, result.stderr
    said = json.loads(result.stdout)
    mask = masks.from_coco_rle(said["mask"]["counts"], *said["mask"]["size"])
    assert mask.shape == (303, 384)
    assert mask[47, 153] and not mask[75, 188]
    assert said["box"] == [int(v) for v in masks.bounding_box(mask)]
    assert said["category"] and said["explanation"] and said["caption"]
    drawn, original = np.asarray(Image.open(picture)), data.coins()
    assert drawn.shape[1] == 384 and drawn.shape[0] > 303
    changed = np.abs(drawn[:303].astype(int) - original[..., None]).max(2) > 40
    assert changed[mask].mean() > 0.9
    assert changed[~mask].mean() < 0.1


def test_predict_chooses_from_labels_and_answers_questions(photo: Path):
    """The category is one of the labels, all of them are weighed, and a question of one's own gets its answer."""
    result = pam_studio(
        *("predict", photo, "--point", "153,47", "--labels", "coin, cup,traffic light", "--ask", "What colour is it?"),
        *("--ask", "Is it round?", "--caption", "detailed", "--max-new-tokens", "9"),
    )
    assert result.returncode == 0, result.stderr
    said = json.loads(result.stdout)
    assert set(said["labels"]) == {"coin", "cup", "traffic light"}
    assert said["category"] == next(iter(said["labels"]))
    assert sum(said["labels"].values()) == pytest.approx(1, abs=1e-3)
    assert said["scores"]["category"] == said["labels"][said["category"]]
    assert 0 <= said["coverage"] <= 1
    assert [answer["question"] for answer in said["answers"]] == ["What colour is it?", "Is it round?"]
    assert all(answer["answer"] and 0 <= answer["score"] <= 1 for answer in said["answers"])


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (("--point", "1,1", "--labels", "a,,b"), 1, "a label is empty"),
        (("--point", "1,1", "--labels", "a,a"), 1, "'a' is in the list twice"),
        (("--point", "1,1", "--ask", "hi<|im_end|>"), 1, "control token '<|im_end|>'"),
        (("--point", "1,1", "--language", "fr"), 2, "language: Input should be 'en' or 'zh'"),
        (("--point", "1,1", "--language", "zh"), 1, "trained to speak en, not zh"),
        (("--point", "1,1", "--save", "nowhere/a.png"), 2, "there is no folder nowhere"),
        (("--point", "1,1", "--save", "a.xyz"), 2, "names no picture format"),
        (("--point", "1,1", "--top-p", "0"), 2, "top_p"),
        (("--point", "900,1"), 1, "click (900, 1) lies outside the image of 384 x 303 pixels"),
        (("--point", "a,1"), 2, "expected 2 numbers separated by commas, got 'a,1'"),
        (("--box", "1,2,3"), 2, "expected 4 numbers"),
        ((), 1, "needs a positive click, a box or a mask"),
        (("--point", "1,1", "--model", "nowhere"), 1, "nowhere is no checkpoint"),
        (("--point", "1,1", "--threads", "none"), 2, "threads"),
    ],
)
def test_predict_refuses_in_one_line(photo: Path, arguments: tuple[str, ...], status: int, says: str):
    """A wrong call is told what is wrong, without a traceback."""
    result = pam_studio("predict", photo, *arguments)
    assert result.returncode == status
    assert says in result.stderr
    assert "Traceback" not in result.stderr


def test_a_file_that_is_no_picture():
    """Neither a traceback nor half an answer."""
    result = pam_studio("predict", __file__, "--point", "1,1")
    assert result.returncode == 1
    assert "no image" in result.stderr and result.stdout == ""


def test_export_of_an_unknown_project(tmp_path: Path):
    """Without a ledger that knows the project, the message says what to set."""
    Ledger(tmp_path / "data" / "ledger.sqlite").close()
    result = pam_studio("export", "--project", 7, "--out", tmp_path / "out", "--data-dir", tmp_path / "data")
    assert result.returncode == 1
    assert "knows nothing of project 7" in result.stderr and "LABEL_STUDIO_URL" in result.stderr
    assert not (tmp_path / "out").exists()


def test_help_does_not_wait_for_pytorch():
    """It answers in a moment: importing PyTorch takes ten times as long as all else."""
    code = (
        "import sys, backend.cli; print([m for m in ('torch', 'transformers', 'flask', 'pandas') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr


def test_training_has_its_options(tmp_path: Path):
    """The command hands on what it is given, help included, and a folder of another run is refused before any work."""
    assert "--word-steps" in pam_studio("train-nano", "--help").stdout
    assert pam_studio("train-nano", "--word-stepz", 3).returncode == 2
    (tmp_path / "arguments.json").write_text('{"seed": 7}')
    result = pam_studio("train-nano", "--work", tmp_path, "--out", tmp_path / "out")
    assert result.returncode == 2 and "holds a run with" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["arguments.json"]


def test_export_from_a_folder_that_is_not_there(tmp_path: Path):
    """A mistyped --data-dir is told, and does not come into being."""
    for more in ({}, {"LABEL_STUDIO_URL": "http://127.0.0.1:9"}):
        arguments = ("export", "--project", 7, "--out", tmp_path / "out", "--data-dir", tmp_path / "typo")
        result = pam_studio(*arguments, **more)
        assert (
            result.returncode == 1 and f"there is no folder {tmp_path / 'typo'}: name the --data-dir" in result.stderr
        )
    assert list(tmp_path.iterdir()) == []


def test_serve_has_an_option_for_every_setting_but_the_secrets():
    """One table for environment, command line and README."""
    text = pam_studio("serve", "--help").stdout
    secrets = {name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}
    assert secrets == {"label_studio_api_key", "basic_auth_password"}
    for name in Settings.model_fields:
        assert (f"--{name.replace('_', '-')} " in text) == (name not in secrets)


def test_help_says_what_may_be_chosen_and_repeated():
    """Nobody should have to look up a list of words, or find out by trying."""
    text = pam_studio("predict", "--help").stdout
    assert "en|zh" in text and "auto|float32|bfloat16|float16" in text and text.count("may be repeated") == 3
    text = pam_studio("export", "--help").stdout
    assert "all|latest|ground_truth|agreement" in text and "--retry" in text


def test_a_setting_that_is_wrong_is_one_plain_sentence():
    """Not the words of the library that checks it."""
    result = pam_studio("serve", PAM_STUDIO_BASIC_AUTH_USER="ann")
    assert result.returncode == 2
    assert result.stderr == "pam-studio: basic_auth_user needs a basic_auth_password\n"


def test_options_win_over_the_environment(photo: Path):
    """The environment configures, the command line decides."""
    result = pam_studio("predict", photo, "--point", "9,9", "--model", "here", PAM_STUDIO_MODEL="there")
    assert "here is no checkpoint" in result.stderr
    result = pam_studio("predict", photo, "--point", "9,9", PAM_STUDIO_MODEL="there")
    assert "there is no checkpoint" in result.stderr
