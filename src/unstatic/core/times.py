"""Times as people write them: 90, 1.5, 1:30 or 1:02:30."""

import re

# Behind a colon there are two digits
_MOMENT = re.compile(
    r"(?:(?:(\d{1,6}):(?=\d\d:))?(\d{1,6}):(?=[0-5]\d(?!\d)))?(\d{1,6}\.?\d*|\.\d+)", re.ASCII
)


def seconds_of(text: str) -> float | None:
    """Return the seconds of a time in seconds, M:S or H:M:S, if it is one."""
    if (told := _MOMENT.fullmatch(text)) is None:
        return None
    hours, minutes, seconds = told.groups(default="0")
    return 3600.0 * int(hours) + 60 * int(minutes) + float(seconds)
