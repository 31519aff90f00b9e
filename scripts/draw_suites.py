"""Draw the suites of evaluation prompts anew: `python scripts/draw_suites.py`.

A suite that has judged a model must stay as it is: this is for a new suite, or to see how one came about.
"""

from unstatic.evals.drawing import DRAWERS
from unstatic.evals.prompts import save_suite


def main() -> None:
    """Write every suite and say its size and fingerprint."""
    for draw in DRAWERS:
        suite = draw()
        path = save_suite(suite)
        print(path.name, len(suite.prompts), suite.fingerprint)


if __name__ == "__main__":
    main()
