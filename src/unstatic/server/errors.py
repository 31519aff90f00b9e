"""The one shape that errors have: {"error": {"message", "type", "param", "code"}}."""

from typing import Any

from unstatic.core.errors import UnstaticError

LONGEST_WAIT_S = 120
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
        """What goes with the answer; a client waits two minutes at most."""
        return (
            {} if self.retry_after_s is None else {"Retry-After": str(min(max(self.retry_after_s, 1), 120))}
        )

    @property
    def body(self) -> dict[str, Any]:
        """The answer."""
        kind = TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def not_found(what: str, name: str) -> ApiError:
    """Return the answer for what is not there, or is somebody else's: nobody can tell which."""
    return ApiError(404, f"no {what} has the id {name[:80]!a}", code="not_found")
