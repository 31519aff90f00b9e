"""The one shape that errors have: {"error": {"message", "type", "param", "code"}}."""

import logging
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse

from unstatic.core.errors import InputError, UnstaticError

LONGEST_WAIT_S = 120
BUSY_WAIT_S, UNABLE_WAIT_S = 5, 30
TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    429: "rate_limit_error",
}


class ApiError(UnstaticError):
    """A request is answered with this. The message is read by strangers: it names nothing of the machine."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str,
        param: str | None = None,
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.retry_after_s = retry_after_s

    @property
    def headers(self) -> dict[str, str]:
        """What goes with the answer: how one is let in; and a client waits two minutes at most."""
        found = {"WWW-Authenticate": 'Bearer realm="unstatic"'} if self.status == 401 else {}
        if self.retry_after_s is not None:
            found["Retry-After"] = str(min(max(self.retry_after_s, 1), LONGEST_WAIT_S))
        return found

    @property
    def body(self) -> dict[str, Any]:
        """The answer."""
        kind = TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def not_found(what: str, name: str) -> ApiError:
    """Return the answer for what is not there, or is somebody else's: nobody can tell which."""
    return ApiError(404, f"no {what} has the id {name[:80]!a}", code="not_found")


def unknown(name: str) -> ApiError:
    """Return the answer for a field or a parameter that is not known: it would be without effect."""
    shown = ascii(name)[1:-1]
    return ApiError(400, f"{shown} is not known here: leave it out", code="unknown_parameter", param=shown)


def add_handlers(app: FastAPI) -> None:
    """Let every error of an application be answered in the one shape."""
    handlers = {
        ApiError: _as_said,
        InputError: _as_said,
        HTTPException: _as_status,
        UnstaticError: _as_unable,
        RequestValidationError: _as_invalid,
        DBAPIError: _as_busy,
        PoolTimeoutError: _as_busy,
        ClientDisconnect: _as_gone,
        Exception: _as_unknown,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)


def answer(error: ApiError) -> JSONResponse:
    """Return what a client is sent for an error."""
    return JSONResponse(error.body, error.status, error.headers)


def first_fault(faults: list[Any]) -> ApiError:
    """Return the answer for the first of what pydantic found, without what was sent."""
    path = [str(each) for each in faults[0]["loc"] if each not in ("body", "query", "path")]
    name = (path[0] + "".join(f"[{each}]" for each in path[1:]))[:200] if path else "request"
    if faults[0]["type"] == "extra_forbidden":
        return unknown(name)
    why = str(faults[0]["msg"]).removeprefix("Value error, ")
    return ApiError(400, f"{name}: {why}"[:400], code="invalid_value", param=name)


def _as_said(request: Request, error: Exception) -> JSONResponse:
    del request
    if isinstance(error, ApiError):
        return answer(error)
    return answer(ApiError(400, str(error)[:400], code="invalid_value"))


def _as_status(request: Request, error: Exception) -> JSONResponse:
    """Answer what the framework refuses: routes and methods that there are not."""
    assert isinstance(error, HTTPException)
    words = {
        404: ("there is nothing here", "not_found"),
        405: ("this cannot be done here", "method_not_allowed"),
    }
    message, code = words.get(error.status_code, ("the request cannot be read", "invalid_request"))
    answered = answer(ApiError(error.status_code, message, code=code))
    if allowed := (error.headers or {}).get("Allow"):
        answered.headers["Allow"] = allowed
    del request
    return answered


def _as_invalid(request: Request, error: Exception) -> JSONResponse:
    del request
    assert isinstance(error, RequestValidationError)
    return answer(first_fault(list(error.errors())))


def _as_busy(request: Request, error: Exception) -> JSONResponse:
    """Answer for the database: what it says names tables, paths and values."""
    logging.getLogger(__name__).error("%s: the database: %s", request_id(request), type(error).__name__)
    message = "the server cannot reach its records: ask again in a moment"
    return answer(ApiError(503, message, code="unavailable", retry_after_s=BUSY_WAIT_S))


def _as_unable(request: Request, error: Exception) -> JSONResponse:
    """Answer for a part of the server that fails: what it says names keys and places."""
    logging.getLogger(__name__).error("%s: %s", request_id(request), error)
    message = "the server cannot do this at the moment: ask again later"
    return answer(ApiError(503, message, code="unavailable", retry_after_s=UNABLE_WAIT_S))


def _as_gone(request: Request, error: Exception) -> JSONResponse:
    """Answer somebody who has hung up."""
    del request, error
    return answer(ApiError(400, "the request broke off", code="invalid_request"))


def _as_unknown(request: Request, error: Exception) -> JSONResponse:
    del error  # the server logs it
    name = request_id(request)
    answered = answer(ApiError(500, f"the server failed: its log says more at {name}", code="server_error"))
    answered.headers["x-request-id"] = name
    return answered


def request_id(request: Request) -> str:
    """Return the name of a request, which its answer carries in a header."""
    return str(request.scope.get("state", {}).get("request_id", "none"))
