"""Write docs/reference/faults.md: the faults that the server must stand, and the tests that bring each about.

    python scripts/list_faults.py

A test carries the number of its fault in its name (`test_f6_...`). Which tests there are, and on which
databases they run, is what pytest collects.
"""

import argparse
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "reference" / "faults.md"
FAULTS = {
    "Durability": {
        1: "killed right after the answer, before the work",
        2: "a worker killed anywhere",
        3: "killed between encoding, storing and committing",
        4: "killed while a film is marked",
        5: "killed at random: nothing lost, nothing twice, credits add up",
        6: "two workers and one job; a late worker",
        7: "a job that always crashes",
        8: "a full disk: upload, film, database",
        9: "a database that is locked, read-only, torn or away",
        10: "SIGTERM lets jobs end, or gives them back",
        11: "clocks that jump",
        12: "work that hangs",
        13: "too little memory, a device out of order",
        14: "restarts keep order and state; progress never falls",
    },
    "Repeated requests": {
        15: "one key twenty times at once",
        16: "one key, another body",
        17: "one key, another account",
        18: "a key after a restart, a deletion, its time",
        19: "the answer gets lost",
        20: "a retry without a key",
    },
    "Races": {21: "deleting what is queued, made, done, downloaded, edited, listed"},
    "Contract": {
        22: "absurd values, bodies and headers",
        23: "a failed job is found",
        24: "one shape of errors, which tell nothing of the machine",
    },
    "Load": {
        25: "over the limits",
        26: "a full queue",
        27: "one account floods",
        28: "slow and idle connections",
        29: "the last credit, many times at once",
        30: "paid back once",
    },
    "Access": {
        31: "keys that are missing, wrong, revoked, expired, misplaced",
        32: "what is somebody else's",
        33: "how keys and ids are made and kept",
        34: "what a tier may not; logs without secrets",
        35: "names in headers",
    },
    "Paths": {36: "ids, names and links that lead astray"},
    "Addresses": {37: "pictures and webhooks at addresses that are not public, or lie"},
    "Media": {
        38: "a small picture of many pixels",
        39: "pictures that are odd, torn or something else",
        40: "a list that names a neighbouring file",
        41: "videos that lie",
        42: "uploads: limits, quota, broken off",
    },
    "Output": {
        43: "ranges, HEAD, tags, downloads that go on",
        44: "marks on every variant",
        45: "moderation that is down or deceived",
        46: "the same seed after a restart",
    },
    "Webhooks": {47: "receivers that fail, secrets that change, restarts"},
}
OPEN = {
    4: "films are not marked yet",
    44: "films are not marked yet",
    45: "nothing is moderated yet",
}
PARTLY_OPEN = {
    8: "while a film is marked: films are not marked yet",
    34: "CSRF: there is no page of ours yet",
    35: "names in a page: there is none yet",
}
OF_THE_SERVER = (
    "tests/server",
    "tests/scripts/test_soak.py",
    "tests/test_openai_client.py",
    "tests/test_openapi_fuzz.py",
)
# What touches the store; the others are about files, addresses, and the words of requests
ON_BOTH = (1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, *range(14, 22), 23, *range(25, 28), *range(29, 34), 47)
HEAD = """# The faults that the server must stand

Written by `python scripts/list_faults.py`. Each has tests with its number in their names, run with
`pytest -k f6_`, and by `make test` on every change: those that touch the store on SQLite and on a real
PostgreSQL. Beyond single faults, `make soak` kills servers and workers at random while they make films
([what it found](soak.md)). As long as some are open, `serve` listens beyond its machine only with `--expose`.
"""

Tests = dict[int, dict[str, set[str]]]


def main() -> None:
    """Write the page."""
    argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0]).parse_args()
    PAGE.write_text(page(collected()), encoding="utf-8")


def collected() -> Tests:
    """Return of each fault its tests, and the databases that each runs on."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "", *OF_THE_SERVER]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    found: Tests = defaultdict(dict)
    for line in listed.splitlines():
        path, _, rest = line.partition("::")
        name, _, values = rest.partition("[")
        for number in re.findall(r"(?<=_f)\d+(?=_)", name):
            where = found[int(number)].setdefault(f"{path}::{name}", set())
            where |= {each for each in ("sqlite", "postgresql") if each in values}
    return found


def page(tests: Tests) -> str:
    """Return the page as Markdown."""
    lines = [HEAD]
    for title, faults in FAULTS.items():
        lines += [f"## {title}\n", "| | fault | tests | on |", "|---|---|---|---|"]
        for number, words in faults.items():
            named = ", ".join(f"`{each.partition('::')[2]}`" for each in sorted(tests[number])) or "none"
            missing = OPEN.get(number) or PARTLY_OPEN.get(number)
            said = f"{words}. **Open:** {missing}" if missing else words
            where = sorted(set().union(*tests[number].values()), reverse=True) or ["no database"]
            lines.append(f"| F{number} | {said} | {named} | {', '.join(where)} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
