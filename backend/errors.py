"""The one exception family of the backend, and the one shape that every error has on the wire."""

from __future__ import annotations


class BackendError(Exception):
    """An error that a client may read.

    status: the HTTP status that it is answered with.
    code:   a short stable name that programs can tell apart, such as "image_too_large".
    The message names the thing, the value and the remedy; it never holds a token.
    """

    status = 500
    code = "internal_error"

    def __init__(self, message: str, *, code: str | None = None, status: int | None = None):
        super().__init__(message)
        self.message = message
        self.code = code or self.code
        self.status = status or self.status

    def as_json(self) -> dict:
        """`{"error": {"status": int, "code": str, "message": str}}`"""
        return {"error": {"status": self.status, "code": self.code, "message": self.message}}


class RequestError(BackendError):
    """A request that is malformed or asks for something that cannot be."""

    status, code = 400, "bad_request"


class ConfigError(BackendError):
    """A labelling config that cannot be used; the message says which tag to add."""

    status, code = 422, "bad_label_config"


class PictureError(BackendError):
    """An image that cannot be had, or cannot be read."""

    status, code = 422, "bad_image"


class VideoFileError(BackendError):
    """A video that cannot be had, or cannot be read."""

    status, code = 422, "bad_video"


class LabelStudioError(BackendError):
    """Label Studio cannot be reached, or refuses."""

    status, code = 502, "label_studio_unavailable"


class ExportError(BackendError):
    """An export that cannot be made."""

    status, code = 500, "export_failed"


class LedgerError(BackendError):
    """The ledger cannot be opened, read or written."""

    status, code = 503, "ledger_unavailable"


class JobError(BackendError):
    """A background job that there is not, or that cannot be done."""

    status, code = 500, "job_failed"


class JobsUnavailable(BackendError):
    """The list of background jobs cannot be opened, read or written."""

    status, code = 503, "jobs_unavailable"


class ModelsError(BackendError):
    """A model that cannot be kept or take over, or a folder of models that cannot be used."""

    status, code = 409, "model_refused"
