"""How often the parsers agree with real renders of the suites: `python scripts/parser_agreement.py`.

Prints a table in Markdown, a row for every atom of every suite: each parser alone and both at once, with 95%
Wilson intervals. What both read right is the ceiling of what they can say about a model. Arguments name the
suites; without any it is all but "first-light".
"""

import argparse
import sys
from collections.abc import Iterable

from unstatic.evals.classical import load_classical
from unstatic.evals.follow import SUMS, FollowResult, follow
from unstatic.evals.parser import load_parser
from unstatic.evals.prompts import SUITES, load_suite

HEAD = "| suite | atom | clips | network | classical | both right |\n|---|---|---|---|---|---|"


def rows(result: FollowResult) -> Iterable[str]:
    """Yield a row for every atom that the suite asks for."""
    real = result.columns[0]
    for atom in result.atoms:
        if atom in SUMS:
            continue
        network, classical = (real.agreement(atom, reader) for reader in range(2))
        both = real.score(atom)
        yield f"| {result.suite} | {atom} | {both.total} | {network} | {classical} | {both} |"


def main() -> None:
    """Read every clip of the suites with both parsers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("suites", nargs="*", default=SUITES[1:], help="names; all but the first by default")
    options = parser.parse_args()
    readers = [load_parser(), load_classical()]
    print(HEAD)
    for name in options.suites:
        result = follow({}, load_suite(name), readers)
        print("\n".join(rows(result)), flush=True)
        for atom in result.atoms:
            if atom in SUMS:
                continue
            print(atom, result.columns[0].confusions(atom), file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
