"""Label Studio, asked over HTTP: its projects and tasks, and who may see them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx
import tenacity

from backend.access_tokens import claims, lifetime
from backend.errors import LabelStudioError

PAGE = 25
"""Tasks per request: with brush masks in it, one annotation can be a megabyte."""

_ATTEMPTS = 5
_LONGEST_WAIT = 60.0
_RENEW_BEFORE = 30.0  # seconds; access tokens live for five minutes
_RENEWAL_ATTEMPTS = 2  # clicks wait for a renewal, which nobody else can make meanwhile
_RENEWAL_LONGEST_WAIT = 1.0


class _Passing(Exception):
    """A failure that may be over in a moment; `wait` is how many seconds the server asked for."""

    def __init__(self, reason: str, wait: float = 0.0):
        super().__init__(reason)
        self.wait = wait


class LabelStudio:
    """One Label Studio server, and the token that opens it. Threads may share it.

    url:     where it is reached, with the path that it is served under, if any.
    api_key: a legacy token, or a Personal Access Token, which is exchanged for access tokens that live for minutes and
             are renewed before they expire. None where the server asks for none.
    timeout: seconds that connecting, and each wait for data, may take.
    backoff: seconds before the first repetition of what failed in passing; it doubles from one to the next.
    """

    def __init__(self, url: str, api_key: str | None, timeout: float, *, backoff: float = 0.5):
        self.url = url.rstrip("/")
        scheme, host, _ = _origin(self.url)
        if not host or scheme not in ("http", "https") or "@" in self.url:
            raise LabelStudioError('Label Studio\'s address must be like "http://localhost:8080", without a password')
        self._api_key = (api_key or "").strip()
        if not (self._api_key.isascii() and self._api_key.isprintable()):
            raise LabelStudioError("the token of Label Studio holds characters that no token has: copy it again")
        self._is_refresh_token = claims(self._api_key).get("token_type") == "refresh"
        self._is_access_token = claims(self._api_key).get("token_type") == "access"
        self._access: tuple[str, float] | None = None
        self._failure: tuple[LabelStudioError, float] | None = None
        self._renewing = threading.Lock()
        self._clock: datetime | None = None
        self._backoff = backoff
        self._http = httpx.Client(timeout=timeout, follow_redirects=False)

    def __repr__(self) -> str:
        return f"LabelStudio({self.url!r}, {self.token_kind})"

    def close(self) -> None:
        self._http.close()

    @property
    def token_kind(self) -> str:
        """What kind of token this is, in words that may be shown."""
        if not self._api_key:
            return "no token"
        if self._is_refresh_token:
            return "a Personal Access Token"
        return "an access token" if self._is_access_token else "a legacy token"

    def absolute(self, address: str) -> str:
        """The URL of an address without a host, such as `/data/upload/1/a.jpg`, on this server."""
        parts = urlsplit(self.url)
        path = address if address.startswith("/") else f"/{address}"
        below = parts.path and not path.startswith(f"{parts.path}/")
        return f"{parts.scheme}://{parts.netloc}{parts.path if below else ''}{path}"

    def is_own(self, url: str) -> bool:
        """Whether `url` has this server's scheme, host and port."""
        return _origin(url) == _origin(self.url)

    def headers_for(self, url: str) -> dict[str, str]:
        """The header that opens `url`, or none where it is not this server: nobody else may see the token.

        May ask Label Studio for a new access token; raises LabelStudioError when it gives none.
        """
        if not self._api_key or not self.is_own(url):
            return {}
        if self._is_refresh_token:
            return {"Authorization": f"Bearer {self._access_token()}"}
        return {"Authorization": f"{'Bearer' if self._is_access_token else 'Token'} {self._api_key}"}

    def project(self, project_id: int) -> dict[str, Any]:
        """The project, its labelling config among the rest."""
        return self.ask("GET", f"/api/projects/{int(project_id)}/")

    @property
    def clock(self) -> datetime | None:
        """What Label Studio's clock said when it last answered; None where it has not said."""
        return self._clock

    def pages(
        self, project_id: int, after: int = -1, changed_from: datetime | None = None
    ) -> Iterator[list[dict[str, Any]]]:
        """The tasks of a project by rising id, each once and with its annotations in full, cancelled ones included.

        after:        only tasks with a larger id.
        changed_from: only tasks that Label Studio has touched at that time or later; it touches a task, too, when one
                      of its annotations comes, changes or goes.

        A page is asked for when it is wanted. It begins after the last id of the one before, so that tasks that come
        or go meanwhile move no other from one page into the next. Raises LabelStudioError; nothing is left out.
        """
        touched = [] if changed_from is None else [_touched(changed_from)]
        last, vain = after, 0
        while True:
            page, is_end = self.page(project_id, [after_id(last), *touched], {"page_size": PAGE, "fields": "all"})
            if new := [task for task in page if task["id"] > last]:
                last, vain = new[-1]["id"], 0
                yield new
            elif is_end:
                return
            elif (vain := vain + 1) == _ATTEMPTS:
                raise LabelStudioError(f"{self.url} gave tasks of project {project_id} again that it had given: no end")
            else:
                time.sleep(self._backoff * 2 ** (vain - 1))

    def page(
        self, project_id: int, filters: list[dict[str, Any]], parameters: dict[str, Any]
    ) -> tuple[list[dict[str, Any]], bool]:
        """Tasks by rising id, and whether these are none because there are none.

        filters: of Label Studio's data manager; all must hold. parameters: of the query, beside them.
        """
        query = {"filters": {"conjunction": "and", "items": filters}, "ordering": ["tasks:id"]}
        parameters = {"project": int(project_id), "page": 1, "resolve_uri": "false"} | parameters
        answer = self.ask("GET", "/api/tasks/", params=parameters | {"query": json.dumps(query)})
        page = answer.get("tasks")
        if not isinstance(page, list) or not all(isinstance(t, dict) and type(t.get("id")) is int for t in page):
            raise LabelStudioError(f"{self.url} answered the list of tasks in a form that is not known")
        by_id = {task["id"]: task for task in page}
        # What is missing between two tasks of a page is taken to be gone: a list in another order would empty a ledger.
        if list(by_id) != sorted(by_id):
            raise LabelStudioError(f"{self.url} did not list the tasks of project {project_id} by their ids")
        return list(by_id.values()), not page and not answer.get("total")

    def ask(self, method: str, path: str, most: int = _ATTEMPTS, kind: type = dict, **arguments: Any) -> Any:
        """What Label Studio answers, JSON of that `kind`; what fails in passing is asked again, `most` times in all.

        arguments: of httpx's `request`. Raises LabelStudioError; its status is 404 for what is not there, 400 for
        what Label Studio does not take, and 413 for what is too large for it or a proxy.
        """
        url = self.url + path
        for is_last in (False, True):
            response = self._send(method, url, most, headers=self.headers_for(url), **arguments)
            if response.status_code == 401 and self._is_refresh_token and not is_last:
                self._access = None  # revoked, or Label Studio was restarted with another secret: ask for another
                continue
            break
        if response.status_code == 401:
            raise self._refused(response)
        return self._object(response, path, kind)

    def _access_token(self) -> str:
        """An access token that lives on for a while. Threads that waited for a renewal in vain share its failure."""
        came = time.monotonic()
        with self._renewing:
            access = self._access  # another thread may take it away, without the lock, when it is refused
            if access is None or time.monotonic() > access[1]:
                if self._failure is not None and self._failure[1] >= came:
                    failure = self._failure[0]
                    raise LabelStudioError(failure.message, code=failure.code, status=failure.status)
                try:
                    access = self._access = self._renewed()
                except LabelStudioError as error:
                    self._failure = error, time.monotonic()
                    raise
            return access[0]

    def _renewed(self) -> tuple[str, float]:
        """A new access token, and the time (monotonic) at which to ask for the next."""
        asked = time.monotonic()
        url = f"{self.url}/api/token/refresh/"
        response = self._send("POST", url, _RENEWAL_ATTEMPTS, _RENEWAL_LONGEST_WAIT, json={"refresh": self._api_key})
        if response.status_code in (400, 401):
            raise self._refused(response)
        access = self._object(response, "/api/token/refresh/").get("access")
        if not isinstance(access, str):
            raise LabelStudioError(f"{self.url} gave no access token for {self.token_kind}")
        return access, asked + lifetime(access, 2 * _RENEW_BEFORE) - _RENEW_BEFORE

    def _send(
        self, method: str, url: str, most: int = _ATTEMPTS, longest_wait: float = _LONGEST_WAIT, **arguments: Any
    ) -> httpx.Response:
        """One answer; what fails in passing (no connection, 429, 5xx) is asked again, `most` times in all."""
        attempts = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(_Passing),
            stop=tenacity.stop_after_attempt(most),
            wait=lambda state: min(self._wait(state), longest_wait),
        )
        try:
            return attempts(self._send_once, method, url, **arguments)
        except tenacity.RetryError as error:
            failure = error.last_attempt.exception()
            raise LabelStudioError(f"{self.url} cannot be used: {failure} ({most} attempts)") from failure

    def _send_once(self, method: str, url: str, **arguments: Any) -> httpx.Response:
        try:
            response = self._http.request(method, url, **arguments)
        except httpx.TimeoutException as error:
            raise _Passing("it did not answer in time") from error
        except httpx.RequestError as error:
            raise _Passing(str(error) or type(error).__name__) from error
        self._clock = _date(response)
        if response.status_code == 429 or response.status_code >= 500:
            raise _Passing(f"it answered {response.status_code}", _retry_after(response))
        return response

    def _wait(self, state: tenacity.RetryCallState) -> float:
        failure = state.outcome.exception() if state.outcome else None
        asked_for = failure.wait if isinstance(failure, _Passing) else 0.0
        return max(asked_for, self._backoff * 2 ** (state.attempt_number - 1))

    def _refused(self, response: httpx.Response) -> LabelStudioError:
        said = _detail(response)
        return LabelStudioError(
            f"{self.url} refuses {self.token_kind} ({response.status_code}{said}): set LABEL_STUDIO_API_KEY to a token "
            "of this very server; an organisation may allow only legacy tokens, or only Personal Access Tokens",
            code="label_studio_refuses",
        )

    def _object(self, response: httpx.Response, path: str, kind: type = dict) -> Any:
        if response.is_redirect:
            target = urlsplit(response.headers.get("location", ""))
            raise LabelStudioError(
                f"{self.url} sends {path} on to {target.scheme}://{target.netloc}{target.path}: "
                "set LABEL_STUDIO_URL to where Label Studio really is"
            )
        if response.status_code not in (200, 201):
            codes = {404: "not_found", 400: "label_studio_refuses", 413: "label_studio_refuses"}
            raise LabelStudioError(
                f"{self.url} answered {response.status_code} to {path}{_detail(response)}",
                code=codes.get(response.status_code),
                status=response.status_code if response.status_code in codes else None,
            )
        try:
            answer = response.json()
        except ValueError as error:
            kind = response.headers.get("content-type", "nothing known")
            raise LabelStudioError(
                f"{self.url} answered {kind} to {path}, not JSON: is LABEL_STUDIO_URL really Label Studio's address?"
            ) from error
        if not isinstance(answer, kind):
            expected = "a list" if kind is list else "an object"
            raise LabelStudioError(f"{self.url} answered {path} with something other than {expected}")
        return answer


def after_id(task_id: int) -> dict[str, Any]:
    """The filter for tasks with a larger id."""
    return {"filter": "filter:tasks:id", "operator": "greater", "type": "Number", "value": task_id}


def _touched(since: datetime) -> dict[str, Any]:
    moment = since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {"filter": "filter:tasks:updated_at", "operator": "greater_or_equal", "type": "Datetime", "value": moment}


def _origin(url: str) -> tuple[str, str, int | None]:
    """Scheme, host and port of `url` as the client that sends the request reads them: two parsers could disagree."""
    try:
        parsed = httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        return "", "", None
    return ("", "", None) if parsed.userinfo else (parsed.scheme, parsed.host, parsed.port)


def _retry_after(response: httpx.Response) -> float:
    try:
        return max(0.0, float(response.headers.get("retry-after", 0)))
    except ValueError:  # a date: the doubling wait does as well
        return 0.0


def _date(response: httpx.Response) -> datetime | None:
    """The server's clock, from its `Date` header."""
    try:
        return parsedate_to_datetime(response.headers["date"]).astimezone(UTC)
    except (KeyError, ValueError):
        return None


def _detail(response: httpx.Response) -> str:
    """What Label Studio says of the reason, as the end of a sentence."""
    try:
        said = response.json()
        detail = said.get("detail")
        if said.get("validation_errors"):
            detail = f"{detail}: {json.dumps(said['validation_errors'])}"
    except (ValueError, AttributeError):
        return ""
    return f': "{detail[:200]}"' if isinstance(detail, str) else ""
