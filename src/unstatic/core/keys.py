"""The user's key for servers that make films, read from the environment here and nowhere else."""

import os

from unstatic.core.errors import InputError

KEY_VARIABLE = "UNSTATIC_SERVER_KEY"


def server_key() -> str:
    """Return what UNSTATIC_SERVER_KEY holds, "" if there is nothing.

    Raises InputError, which does not show it, for what cannot be in a header: it would be shown there.
    """
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not all("!" <= character <= "~" for character in key):
        raise InputError(f"{KEY_VARIABLE} holds spaces or letters that no key has: set it to the key alone")
    return key
