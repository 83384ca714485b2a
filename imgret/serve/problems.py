"""Problem: what is answered in place of what was asked for, with a code that programs can rely on."""

from __future__ import annotations

from collections.abc import Mapping


class Problem(Exception):  # noqa: N818  # an answer, not always an error
    """An HTTP status, a code (one word, stable) and a sentence for people."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})
        if status == 503:
            self.headers.setdefault("Retry-After", "2")

    def document(self) -> dict[str, dict[str, str]]:
        """As the interface answers it."""
        return {"error": {"code": self.code, "message": self.message}}


CODES = {
    400: "bad_request",
    401: "token_needed",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "too_slow",
    411: "length_needed",
    413: "too_large",
    415: "unsupported",
    421: "wrong_host",
    422: "invalid",
    431: "too_large",
    500: "internal",
    503: "busy",
}
"""The code of an answer that no Problem gave."""
