"""Label Studio is asked with the right token, at the right place, and again when it fails in passing."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

import pytest

from backend.errors import LabelStudioError
from backend.label_studio import PAGE, LabelStudio
from tests.backend.label_studio_double import LEGACY, PAT, Double, Reply, json_reply, jwt, label_studio_double, slowly


@pytest.fixture
def double() -> Iterator[Double]:
    with label_studio_double() as server:
        yield server


def client(double: Double, api_key: str | None = LEGACY, timeout: float = 2.0, **more: float) -> LabelStudio:
    return LabelStudio(double.url, api_key, timeout, **{"backoff": 0.01} | more)


def tasks(studio: LabelStudio) -> Iterator[dict]:
    """The tasks of project 1, one by one."""
    return (task for page in studio.pages(1) for task in page)


def annotated(id: int) -> dict:
    return {"id": id, "data": {"image": f"/data/upload/1/{id}.jpg"}, "annotations": [{"id": 10 * id, "result": []}]}


@pytest.mark.parametrize("api_key", [LEGACY, PAT, f" {LEGACY}\n"], ids=["legacy", "personal", "with white space"])
def test_both_kinds_of_token_open_the_server(double, api_key):
    assert client(double, api_key).project(1)["label_config"] == "<View/>"


def test_a_personal_token_is_exchanged_once_and_never_sent_as_a_header(double):
    studio = client(double, PAT)
    threads = [threading.Thread(target=studio.project, args=(1,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(asked.path == "/api/token/refresh/" for asked in double.asked) == 1
    assert all(PAT not in (asked.authorization or "") for asked in double.asked)


def test_an_access_token_is_renewed_before_it_expires(double):
    """A token that lives no longer than the margin is never used for a second request."""
    double.access_seconds = 10
    studio = client(double, PAT)
    studio.project(1), studio.project(1)
    assert [asked.path for asked in double.asked] == ["/api/token/refresh/", "/api/projects/1/"] * 2


def test_a_renewal_that_fails_is_tried_twice_for_all_who_wait(double):
    """Clicks queue up behind one renewal: were each to try for itself, the last would wait for all of them."""

    def overloaded(asked):
        time.sleep(0.3)
        return Reply(503, headers={"Retry-After": "60"})

    double.rule(overloaded)
    studio, said = client(double, PAT), []

    def click():
        with pytest.raises(LabelStudioError) as failed:
            studio.headers_for(double.url)
        said.append(failed.value.message)

    begun = time.monotonic()
    threads = [threading.Thread(target=click) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == [f"{double.url} cannot be used: it answered 503 (2 attempts)"] * 8
    assert len(double.asked) == 2
    assert time.monotonic() - begun < 30, "Label Studio's wish for a minute is not granted while clicks wait"


def test_a_renewal_that_failed_is_tried_again_by_the_next(double):
    double.once("/api/token/refresh/", Reply(503), Reply(503))
    studio = client(double, PAT)
    with pytest.raises(LabelStudioError, match="503 .2 attempts"):
        studio.project(1)
    assert studio.project(1)["id"] == 1


def test_a_revoked_access_token_is_replaced(double):
    studio = client(double, PAT)
    studio.project(1)
    double.revoke()
    assert studio.project(1)["id"] == 1


@pytest.mark.parametrize(
    ("api_key", "kind"),
    [("f" * 40, "a legacy token"), (jwt("refresh", jti=9), "a Personal Access Token"), (None, "no token")],
)
def test_a_refused_token_is_named_by_kind_and_place_but_not_shown(double, api_key, kind):
    studio = client(double, api_key)
    with pytest.raises(LabelStudioError, match=f"{double.url} refuses {kind} .401") as refused:
        studio.project(1)
    assert refused.value.code == "label_studio_refuses"
    assert api_key is None or api_key not in refused.value.message + repr(studio) + repr(refused.value)
    assert len(double.asked) <= 2, "a wrong token does not become right by asking again"


@pytest.mark.parametrize("api_key", [LEGACY, PAT])
def test_nobody_else_gets_the_token(double, api_key):
    studio = client(double, api_key)
    port = double.url.rpartition(":")[2]
    for url in [
        f"https://127.0.0.1:{port}/a", "http://127.0.0.1/a", f"http://localhost:{port}/a",
        f"http://127.0.0.1.evil.org:{port}/", f"http://a:b@127.0.0.1:{port}/",
        f"http://127.0.0.1:{port}@evil.org/", f"http://evil.org/?{double.url}", "//evil.org/a", "/data/upload/1/a.jpg",
        f"http://127.0.0.1:{port}\\@evil.org/", f"http://evil.org\\@127.0.0.1:{port}/",
        "http://[broken", "http://127.0.0.1:99999/", "s3://bucket/key", "",
    ]:  # fmt: skip
        assert studio.headers_for(url) == {}, url
    assert set(studio.headers_for(f"{double.url}/data/upload/1/a.jpg")) == {"Authorization"}
    assert studio.headers_for(f"HTTP://127.0.0.1:{port}") != {}


def test_the_default_port_is_the_port():
    studio = LabelStudio("https://label.example.org", LEGACY, 1.0)
    assert studio.headers_for("https://LABEL.example.org:443/a") and not studio.headers_for(
        "http://label.example.org/a"
    )


def test_tokens_stay_out_of_logs(double, caplog):
    caplog.set_level(logging.DEBUG)
    double.once("/api/projects/1/", Reply(503))
    client(double, PAT).project(1)
    client(double).project(1)
    assert double.asked[0].path == "/api/token/refresh/"
    assert LEGACY not in caplog.text and PAT not in caplog.text


@pytest.mark.parametrize("count", [0, 1, PAGE, PAGE + 1, 3 * PAGE])
def test_every_task_comes_once_and_whole(double, count):
    double.tasks = [annotated(id) for id in range(1, count + 1)]
    assert list(tasks(client(double))) == double.tasks
    assert all(asked.query["fields"] == "all" for asked in double.asked)


def test_tasks_that_vanish_while_paging_hide_no_other(double):
    """With numbered pages, a task deleted on page one moves the first of page two out of sight."""
    double.tasks = [annotated(id) for id in range(1, 2 * PAGE + 1)]
    listed = tasks(client(double))
    seen = [next(listed)["id"]]
    del double.tasks[:5]
    seen += [task["id"] for task in listed]
    assert seen == list(range(1, 2 * PAGE + 1))


def test_a_failure_half_way_through_the_pages_is_overcome(double):
    double.tasks = [annotated(id) for id in range(1, 2 * PAGE + 1)]
    listed = tasks(client(double))
    next(listed)
    double.once("/api/tasks/", Reply(500), Reply(502), Reply(200, b"", length=50))
    assert len(list(listed)) == 2 * PAGE - 1


def test_a_page_given_again_is_told_and_not_read_for_ever(double):
    double.rule(lambda asked: json_reply(200, {"tasks": [annotated(1), annotated(2)]}))
    listed = tasks(client(double))
    assert [next(listed)["id"], next(listed)["id"]] == [1, 2]
    with pytest.raises(LabelStudioError, match="gave tasks of project 1 again that it had given"):
        next(listed)


def test_a_page_that_comes_twice_is_asked_for_again(double):
    """A cache on the way gives the page of a moment ago: nothing is doubled, nothing is left out."""
    double.tasks = [annotated(id) for id in range(1, 2 * PAGE + 1)]
    stale = json_reply(200, {"tasks": double.tasks[:PAGE], "total": 2 * PAGE})
    overlapping = json_reply(200, {"tasks": double.tasks[PAGE - 5 : PAGE + 5], "total": PAGE + 5})
    nothing = json_reply(200, {"tasks": [], "total": PAGE})
    listed = tasks(client(double))
    first = [next(listed) for _ in range(PAGE)]
    double.once("/api/tasks/", stale, nothing, overlapping)
    assert first + list(listed) == double.tasks


def test_a_list_out_of_order_is_refused(double):
    """What is missing between two tasks counts as deleted, so a list in another order must not be read at all."""
    double.rule(lambda asked: json_reply(200, {"tasks": [annotated(9), annotated(2)], "total": 2}))
    with pytest.raises(LabelStudioError, match="did not list the tasks of project 1 by their ids"):
        list(tasks(client(double)))


def test_only_what_was_touched_is_asked_for(double):
    """The filter has Label Studio's own form of a time, in UTC, whatever zone the caller thinks in."""
    double.tasks = [annotated(id) | {"updated_at": f"2026-11-22T12:00:0{id}.000000Z"} for id in range(1, 6)]
    since = datetime(2026, 11, 22, 14, 0, 4, tzinfo=timezone(timedelta(hours=2)))
    pages = list(client(double).pages(1, after=1, changed_from=since))
    assert [[task["id"] for task in page] for page in pages] == [[4, 5]]


def test_label_studios_clock_is_read_from_its_answers(double):
    studio = client(double)
    assert studio.clock is None
    studio.project(1)
    assert studio.clock is not None
    assert abs(studio.clock - datetime.now(UTC)) < timedelta(minutes=1)


def test_a_server_that_says_when_is_asked_then(double):
    double.once("/api/projects/1/", Reply(429, headers={"Retry-After": "0.3"}))
    begun = time.monotonic()
    assert client(double).project(1)["id"] == 1
    assert 0.3 <= time.monotonic() - begun


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (lambda: Reply(500), r"it answered 500 \(5 attempts\)"),
        (lambda: Reply(429, headers={"Retry-After": "soon"}), r"it answered 429 \(5 attempts\)"),
        (lambda: Reply(200, slowly(b"{" + b" " * 50, 1, 0.5)), "did not answer in time"),
        (lambda: Reply(200, b"{", length=100), "closed|reset|incomplete"),
        (lambda: Reply(200, b"<html>", {"Content-Type": "text/html"}), "text/html to /api/projects/1/, not JSON"),
        (lambda: Reply(200, b"{}", {"Content-Encoding": "gzip"}), "cannot be used: .*header"),
        (lambda: Reply(200, b"[]"), "something other than an object"),
        (lambda: Reply(302, headers={"Location": "https://else.org/in?t=1"}), "sends .* on to https://else.org/in:"),
        (lambda: json_reply(403, {"detail": "You may not."}), 'answered 403 to /api/projects/1/: "You may not."'),
    ],
)
def test_what_does_not_pass_is_told(double, reply, says):
    double.rule(lambda asked: reply())
    with pytest.raises(LabelStudioError, match=says) as failed:
        client(double, timeout=0.2).project(1)
    assert failed.value.status == 502


def test_what_is_not_there_is_told_as_that(double):
    with pytest.raises(LabelStudioError, match='404 to /api/projects/7/: "Not found."') as missing:
        client(double).project(7)
    assert (missing.value.status, missing.value.code) == (404, "not_found")


def test_a_server_that_is_not_there_is_told():
    with label_studio_double() as gone:
        studio = client(gone)
    with pytest.raises(LabelStudioError, match=f"{gone.url} cannot be used: .*refused"):
        studio.project(1)


@pytest.mark.parametrize("url", ["", "localhost:8080", "ftp://a.org", "http://", "http://user:secret@a.org"])
def test_an_address_that_is_none_is_refused_at_once(url):
    with pytest.raises(LabelStudioError, match="must be like") as refused:
        LabelStudio(url, LEGACY, 1.0)
    assert "secret" not in refused.value.message


@pytest.mark.parametrize("api_key", ["abc\ndef", "ключ"])
def test_a_token_that_is_none_is_refused_at_once(api_key):
    with pytest.raises(LabelStudioError, match="copy it again") as refused:
        LabelStudio("http://a.org", api_key, 1.0)
    assert api_key not in refused.value.message


@pytest.mark.parametrize(
    ("url", "address", "expected"),
    [
        ("http://a.org", "/data/upload/1/b.jpg", "http://a.org/data/upload/1/b.jpg"),
        ("http://a.org/", "data/local-files/?d=c", "http://a.org/data/local-files/?d=c"),
        ("http://a.org:8080/ls", "/data/b.jpg", "http://a.org:8080/ls/data/b.jpg"),
        ("http://a.org:8080/ls/", "/ls/data/b.jpg", "http://a.org:8080/ls/data/b.jpg"),
    ],
)
def test_an_address_without_a_host_is_on_the_server(url, address, expected):
    assert LabelStudio(url, None, 1.0).absolute(address) == expected
