import numpy as np
from parser_agreement import HEAD, rows

from unstatic.evals.follow import REAL, Answer, Column, FollowResult
from unstatic.evals.prompts import load_suite
from unstatic.evals.readings import truth


def test_each_parser_and_both_together_have_a_column() -> None:
    prompt = load_suite("animals").prompts[0]
    right = truth(prompt.spec)
    wrong = right._replace(animals=("nothing",))
    frames = np.zeros((1, 64, 64, 3), np.uint8)
    column = Column(REAL, (Answer(prompt, (right, wrong), frames),))
    table = list(rows(FollowResult("animals", "0" * 16, (column,))))
    assert table[0].startswith("| animals | animal | 1 | 100")
    assert [cell.strip()[:3] for cell in table[0].split("|")[4:7]] == ["100", "0.0", "0.0"]
    assert all(row.count("|") == HEAD.splitlines()[0].count("|") for row in table)
