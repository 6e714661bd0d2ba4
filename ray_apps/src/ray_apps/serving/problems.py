"""Errors as answers: RFC 9457 problem details that name the field, the value seen and the mend."""

from collections.abc import Mapping

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from recsys_schemas.serving_api import Problem

SHOWN = 120
"""Characters of a wrong value that are quoted."""


class ProblemError(Exception):
    """A request that gets a problem for an answer."""

    def __init__(self, status: int, title: str, detail: str, *, field: str | None = None, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.problem = Problem(title=title, status=status, detail=detail, field=field)
        self.headers = dict(headers or {})


def unavailable(detail: str, retry_after_seconds: int) -> ProblemError:
    """503 with a Retry-After."""
    return ProblemError(503, "Service Unavailable", detail, headers={"Retry-After": str(retry_after_seconds)})


def unfit(error: ValidationError, under: str = "") -> ProblemError:
    """What pydantic found, as a problem: 400 for a body that is not JSON, 422 for a field that does not fit."""
    first = error.errors(include_url=False)[0]
    if first["type"] == "json_invalid":
        return ProblemError(400, "Bad Request", f"body: {first['msg']}; send one JSON object (UTF-8)", field="body")
    field = ".".join([under] * bool(under) + [str(part) for part in first["loc"]]) or "body"
    return ProblemError(422, "Unprocessable Content", f"{field}: saw {shown(first['input'])}; {mend(first)}", field=field)


def shown(value: object) -> str:
    """A wrong value, cut short."""
    text = repr(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"


def mend(error: ErrorDetails) -> str:
    """What to do about it."""
    if error["type"] == "extra_forbidden":
        return "this field is not known; leave it out or mend its name"
    if error["type"] == "missing":
        return "this field is required; send it"
    return error["msg"][0].lower() + error["msg"][1:]
