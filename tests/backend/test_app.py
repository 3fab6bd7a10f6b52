"""The ML backend protocol, with every request that a real Label Studio once sent."""

from __future__ import annotations

import base64
import copy
import io
import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from label_studio_sdk.label_interface import LabelInterface
from PIL import Image

from backend import masks
from backend.app import create_app
from backend.assembly import Backend
from model import PAM, CheckpointError
from tests.backend.conftest import CAPTURES, Photos, capture, ready
from tests.backend.label_studio_double import LEGACY


def upload_of(request: dict[str, Any]) -> str:
    return request["tasks"][0]["data"]["image"]


def predict(client: FlaskClient, photos: Photos, coins: bytes, name: str) -> list[dict[str, Any]]:
    """Send a captured prompt, with the photograph behind its address; the results of the one prediction."""
    request = capture(name)
    photos.files[upload_of(request)] = coins
    response = client.post("/predict", json=request)
    assert response.status_code == 200, response.json
    (prediction,) = response.json["results"]
    assert prediction["model_version"].startswith("pam-nano-")
    assert 0 <= prediction["score"] <= 1
    return prediction["result"]


def mask_of(results: list[dict[str, Any]]) -> np.ndarray:
    (brush,) = (r for r in results if r["type"] == "brushlabels")
    assert (brush["original_width"], brush["original_height"]) == (384, 303)
    return masks.from_brush_rle(brush["value"]["rle"], 303, 384)


def test_one_click(client: FlaskClient, backend: Backend, photos: Photos, coins: bytes):
    """The click comes back as a mask with three texts under one id, and the ledger knows how that came about."""
    results = predict(client, photos, coins, "predict_1_click")
    mask = mask_of(results)
    x, y = 0.4698133918770582 * 384, 0.14943321994109402 * 303
    assert mask[int(y), int(x)]
    assert mask.sum() < 0.9 * mask.size
    texts = {r["from_name"]: r["value"]["text"] for r in results if r["type"] == "textarea"}
    assert set(texts) == {"category", "explanation", "caption"}
    assert all(len(text) == 1 and text[0] for text in texts.values())
    (region_id,) = {r["id"] for r in results}
    suggestion = backend.ledger.suggestion(region_id)
    assert suggestion is not None
    assert (suggestion.project_id, suggestion.task_id) == (3, 3)
    assert [(round(p.x, 3), round(p.y, 3), p.positive) for p in suggestion.points] == [(round(x, 3), round(y, 3), True)]
    assert np.array_equal(masks.from_coco_rle(suggestion.mask_rle, 303, 384), mask)
    assert [suggestion.caption] == texts["caption"]


def test_a_second_click_refines(client: FlaskClient, photos: Photos, coins: bytes):
    """All open clicks count: the positive one lies in the mask, the negative one outside."""
    mask = mask_of(predict(client, photos, coins, "predict_2_clicks"))
    assert mask[int(0.149433 * 303), int(0.469813 * 384)]
    assert not mask[int(0.099352 * 303), int(0.399561 * 384)]


def test_a_box(client: FlaskClient, photos: Photos, coins: bytes):
    """The mask fills the box and does not leave it."""
    mask = mask_of(predict(client, photos, coins, "predict_box"))
    box = masks.bounding_box(mask)
    x0, y0, x1, y1 = 0.600439 * 384, 0.550081 * 303, 0.732162 * 384, 0.717018 * 303
    assert box.x0 >= x0 - 1.5 and box.y0 >= y0 - 1.5 and box.x1 <= x1 + 1.5 and box.y1 <= y1 + 1.5
    assert mask.sum() > 0.4 * (x1 - x0) * (y1 - y0)


def test_every_region_has_its_own_id(client: FlaskClient, photos: Photos, coins: bytes):
    """The id is the only thread from a suggestion to its correction."""
    ids = {predict(client, photos, coins, "predict_1_click")[0]["id"] for _ in range(3)}
    assert len(ids) == 3


@pytest.mark.parametrize(
    ("name", "mask_type", "word_types"),
    [
        ("image", "brushlabels", {"textarea"}),
        ("image_closed", "brushlabels", {"textarea", "choices"}),
        ("image_polygon", "polygonlabels", {"textarea"}),
    ],
)
def test_the_configs_that_come_along(
    client: FlaskClient, photos: Photos, coins: bytes, name: str, mask_type: str, word_types: set[str]
):
    """Each config in label_config/ is answered in its own tags, and Label Studio's own checker accepts the answer."""
    xml = (Path(__file__).parents[2] / "label_config" / f"{name}.xml").read_text()
    request = capture("predict_1_click") | {"label_config": xml}
    photos.files[upload_of(request)] = coins
    (prediction,) = client.post("/predict", json=request).json["results"]
    types = {result["type"] for result in prediction["result"]}
    assert mask_type in types
    assert types - {mask_type} == word_types
    assert len({result["id"] for result in prediction["result"]}) == 1
    assert LabelInterface(xml).validate_prediction(prediction)


CLOSED = {
    "choices": '<Choices name="category" toName="image" perRegion="true"><Choice value="A hat" alias="h"/>'
    '<Choice value="Small_Coin" alias="c"/></Choices>',
    "taxonomy": '<Taxonomy name="category" toName="image" perRegion="true"><Choice value="Thing"><Choice value="cup"/>'
    '<Choice value="coin"/></Choice><Choice value="Place"><Choice value="cup"/></Choice></Taxonomy>',
    "brushlabels": "",
}


@pytest.mark.parametrize("kind", CLOSED)
def test_a_closed_list_is_always_answered(
    client: FlaskClient, backend: Backend, photos: Photos, coins: bytes, kind: str
):
    """The category is one of the list, in the tag's own form, and the ledger has it with its probability."""
    request = capture("predict_1_click")
    closed = request["label_config"].replace('<TextArea name="category"', '<TextArea name="remarks"')
    region = '<BrushLabels name="region" toName="image" smart="false">'
    assert region in closed
    if kind == "brushlabels":
        closed = closed.replace(region, region + '<Label value="Cup" alias="u"/>')
    request["label_config"] = closed.replace("</View>", CLOSED[kind] + "</View>", 1)
    photos.files[upload_of(request)] = coins
    (prediction,) = client.post("/predict", json=request).json["results"]
    assert LabelInterface(request["label_config"]).validate_prediction(prediction)
    (value,) = (r["value"][kind] for r in prediction["result"] if kind in r["value"])
    assert (
        value[0]
        in {
            "choices": ["h", "c"],
            "taxonomy": [["Thing", "cup"], ["Thing", "coin"], ["Place", "cup"]],
            "brushlabels": ["u", "Object"],
        }[kind]
    )
    suggestion = backend.ledger.suggestion(prediction["result"][0]["id"])
    assert suggestion is not None
    assert suggestion.category in ("A hat", "Small_Coin", "Thing cup", "Place cup", "coin", "Cup", "Object")
    assert 0 < suggestion.word_scores["category"] <= 1
    assert suggestion.explanation


def test_a_list_that_is_too_long_is_told(client: FlaskClient, photos: Photos, coins: bytes):
    """More labels than are weighed: an error that says so, not a click that hangs."""
    request = capture("predict_1_click")
    options = "".join(f'<Choice value="{i}"/>' for i in range(20_001))
    request["label_config"] = request["label_config"].replace('name="category"', 'name="remarks"').replace(
        "</View>", f'<Choices name="category" toName="image" perRegion="true">{options}</Choices></View>', 1
    )  # fmt: skip
    photos.files[upload_of(request)] = coins
    response = client.post("/predict", json=request)
    assert (response.status_code, response.json["error"]["code"]) == (422, "bad_labels")
    assert "20001 labels" in response.json["error"]["message"]


def test_opening_a_task_encodes_its_image(client: FlaskClient, photos: Photos, coins: bytes):
    """`context: null` answers at once, before the image is even there; the click then fetches nothing."""
    opened, click = capture("predict_on_task_open"), capture("predict_1_click")
    opened |= {"project": click["project"], "label_config": click["label_config"], "tasks": click["tasks"]}
    photos.files[upload_of(click)] = coins
    photos.gate.clear()
    began = time.monotonic()
    response = client.post("/predict", json=opened)
    assert (response.status_code, response.json) == (200, {"results": []})
    assert time.monotonic() - began < 15
    photos.gate.set()
    predict(client, photos, coins, "predict_1_click")
    predict(client, photos, coins, "predict_1_click")
    assert len(photos.fetched) == 1


def test_the_capture_of_an_opened_task(client: FlaskClient, photos: Photos, coins: bytes):
    """As it was sent, with its own config, which has another order of tags."""
    request = capture("predict_on_task_open")
    photos.files[upload_of(request)] = coins
    response = client.post("/predict", json=request)
    assert (response.status_code, response.json) == (200, {"results": []})


def test_a_video_prompt_is_no_error(client: FlaskClient):
    """Its video cannot be had here: that is told, in the one shape of all errors."""
    response = client.post("/predict", json=capture("predict_video_box"))
    assert response.status_code == 422
    assert response.json["error"]["code"] == "video_unavailable"
    assert "vid.mp4 answered 404" in response.json["error"]["message"]


@pytest.mark.parametrize("name", sorted(path.stem for path in CAPTURES.glob("webhook_*.json")))
def test_webhooks_are_journalled(client: FlaskClient, backend: Backend, name: str):
    """Every captured event is on disk when it is answered; the button for training is answered with its job."""
    response = client.post("/webhook", json=capture(name))
    assert response.status_code == 201
    assert response.json["status"] == ("queued" if name == "webhook_start_training" else "journalled")
    kept = [a for task in backend.ledger.annotations_by_task(3) for a in task]
    assert [a.id for a in kept] == ([1] if name in ("webhook_annotation_created", "webhook_annotation_updated") else [])


@pytest.mark.parametrize(("configured", "kept"), [(None, "http://localhost:8080"), ("http://ls:80", "http://ls:80")])
def test_setup_is_remembered(make_backend: Callable[..., Backend], configured: str | None, kept: str):
    """Address and token of a project survive in the ledger, so that a restarted backend and an export find its images;
    an address from the settings wins."""
    backend = make_backend(label_studio_url=configured)
    response = create_app(backend).test_client().post("/setup", json=capture("setup"))
    assert response.status_code == 200
    assert response.json["model_version"].startswith("pam-nano")
    project = backend.ledger.project(5)
    assert project is not None
    assert (project.url, project.token) == (kept, "<legacy token of the project owner>")


def test_before_the_model_is_loaded(make_backend: Callable[..., Backend], nano: PAM):
    """`/health` and `/setup` answer at once, `/predict` says 503 and why; afterwards all is well."""
    loaded = threading.Event()
    backend = make_backend(lambda: (loaded.wait(30), nano)[1])
    client = create_app(backend).test_client()
    health = client.get("/health").json
    assert (health["status"], health["ready"]) == ("UP", False)
    assert client.post("/setup", json=capture("setup")).status_code == 200
    response = client.post("/predict", json=capture("predict_1_click"))
    assert response.status_code == 503
    assert response.json["error"]["code"] == "model_not_ready"
    loaded.set()
    deadline = time.monotonic() + 60
    while not client.get("/").json["ready"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)  # without a pause, asking takes the interpreter from the thread that loads


def test_a_model_that_cannot_be_loaded(make_backend: Callable[..., Backend]):
    """The reason reaches whoever asks, and the server stays up."""

    def fail() -> PAM:
        raise CheckpointError("models/pam-3b is no checkpoint: it has no config.json")

    client = create_app(make_backend(fail)).test_client()
    deadline = time.monotonic() + 60
    while "error" not in client.get("/health").json:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    response = client.post("/predict", json=capture("predict_1_click"))
    assert response.status_code == 503
    assert "has no config.json" in response.json["error"]["message"]


def changed(name: str, **values: Any) -> dict[str, Any]:
    """A capture with values put at dotted paths (`__` for a dot)."""
    request = copy.deepcopy(capture(name))
    for path, value in values.items():
        node: Any = request
        *way, last = path.split("__")
        for step in way:
            node = node[int(step) if step.isdigit() else step]
        node[int(last) if last.isdigit() else last] = value
    return request


RESULT = "params__context__result__0"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "bad_json"),
        (b"[]", 400, "bad_request"),
        (b'{"tasks": NaN}', 400, "bad_json"),
        (b"\xff\xfe", 400, "bad_json"),
        (changed("predict_1_click", project="one"), 400, "bad_request"),
        (changed("predict_1_click", label_config="<View>"), 422, "bad_label_config"),
        (changed("predict_1_click", label_config="<View/>"), 422, "no_image_tag"),
        (changed("predict_1_click", tasks=[]), 400, "bad_request"),
        (changed("predict_1_click", **{f"{RESULT}__value__x": 130}), 400, "bad_request"),
        (changed("predict_1_click", **{f"{RESULT}__value__x": "left"}), 400, "bad_request"),
        (changed("predict_1_click", **{f"{RESULT}__is_positive": False}), 422, "bad_prompt"),
        (changed("predict_1_click", **{f"{RESULT}__original_width": 999}), 422, "image_changed"),
        (changed("predict_1_click", tasks__0__data={}), 422, "no_image"),
        (changed("predict_1_click", tasks__0__data={"image": "/data/upload/3/missing.jpg"}), 422, None),
        (changed("predict_1_click", tasks__0__data={"image": "file:///etc/passwd"}), 422, None),
    ],
)
def test_bad_requests(client: FlaskClient, photos: Photos, coins: bytes, body: Any, status: int, code: str | None):
    """One shape of error, the right status, no traceback; and the next request works."""
    photos.files["/data/upload/3/26cbde61-coins.jpg"] = coins
    sent = {"data": body} if isinstance(body, bytes) else {"json": body}
    response = client.post("/predict", **sent)
    assert response.status_code == status
    error = response.json["error"]
    assert set(response.json) == {"error"} and set(error) == {"status", "code", "message"}
    assert error["status"] == status
    assert code is None or error["code"] == code
    assert "Traceback" not in error["message"] and LEGACY not in error["message"]
    predict(client, photos, coins, "predict_1_click")


def big_png(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("1", (width, height)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 422),
        (b"<html>log in</html>", 422),
        (big_png(20_000, 10_000), 413),
    ],
    ids=["empty", "login page", "200 megapixels"],
)
def test_bad_images(client: FlaskClient, photos: Photos, coins: bytes, content: bytes, status: int):
    """A file that is no image, or too large a one, is an error that says so; and the next request works."""
    photos.files["/data/upload/3/26cbde61-coins.jpg"] = content
    response = client.post("/predict", json=capture("predict_1_click"))
    assert response.status_code == status, response.json
    predict(client, photos, coins, "predict_2_clicks")


def test_a_truncated_image(client: FlaskClient, photos: Photos, coins: bytes):
    """Half a file is not answered with half a mask."""
    photos.files["/data/upload/3/26cbde61-coins.jpg"] = coins[: len(coins) // 2]
    response = client.post("/predict", json=capture("predict_1_click"))
    assert response.status_code == 422


def test_a_wrong_token(make_backend: Callable[..., Backend], photos: Photos, coins: bytes, caplog):
    """The error says what to do, and neither it nor any log holds the token."""
    wrong = "f" * 40
    client = create_app(ready(make_backend(label_studio_api_key=wrong))).test_client()
    photos.files["/data/upload/3/26cbde61-coins.jpg"] = coins
    with caplog.at_level(logging.DEBUG):
        response = client.post("/predict", json=capture("predict_1_click"))
    assert response.status_code in (422, 502)
    assert "401" in response.json["error"]["message"] or "token" in response.json["error"]["message"]
    assert wrong not in caplog.text and wrong not in response.text


def test_other_errors_have_the_same_shape(client: FlaskClient, backend: Backend, make_backend):
    """Unknown routes, wrong methods, bodies that are too large."""
    for response, status in (
        (client.get("/nowhere"), 404),
        (client.get("/predict"), 405),
        (create_app(make_backend(max_request_bytes=2000)).test_client().post("/webhook", data=b"x" * 3000), 413),
    ):
        assert response.status_code == status
        assert set(response.json["error"]) == {"status", "code", "message"}


def test_an_unforeseen_error_is_hidden_and_logged(client: FlaskClient, backend: Backend, monkeypatch, caplog):
    """The client learns nothing of the inside; the log has the traceback."""

    def explode(*_: Any) -> None:
        raise ZeroDivisionError("secret inside")

    monkeypatch.setattr(backend.ledger, "journal", explode)
    response = client.post("/webhook", json=capture("webhook_annotation_created"))
    assert response.status_code == 500
    assert "secret inside" not in response.text
    assert "secret inside" in caplog.text


def test_basic_auth(make_backend: Callable[..., Backend]):
    """With a password set, every route asks for it."""
    client = create_app(make_backend(basic_auth_user="me", basic_auth_password="pass:wörd")).test_client()

    def status(credentials: str | None) -> int:
        header = {"Authorization": "Basic " + base64.b64encode(credentials.encode()).decode()} if credentials else {}
        return client.get("/health", headers=header).status_code

    assert [status(c) for c in (None, "me:wrong", "you:pass:wörd", "me:", "me:pass:wörd")] == [401, 401, 401, 401, 200]
    assert client.post("/predict", json=capture("predict_1_click")).status_code == 401


def test_metrics(client: FlaskClient, photos: Photos, coins: bytes):
    """Prometheus' text format, with what was just done in it."""
    predict(client, photos, coins, "predict_1_click")
    text = client.get("/metrics").text
    assert 'pam_studio_requests_total{route="/predict",status="200"}' in text
    assert 'pam_studio_model_seconds_count{step="perceive"}' in text
    assert "pam_studio_model_ready 1.0" in text


def test_many_at_once(client: FlaskClient, backend: Backend, photos: Photos, coins: bytes):
    """Annotators who click at the same moment all get the mask that they would have got alone."""
    alone = mask_of(predict(client, photos, coins, "predict_1_click"))
    found: list[np.ndarray] = []
    app = create_app(backend)

    def click() -> None:
        found.append(mask_of(predict(app.test_client(), photos, coins, "predict_1_click")))

    threads = [threading.Thread(target=click) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert all(np.array_equal(mask, alone) for mask in found)
