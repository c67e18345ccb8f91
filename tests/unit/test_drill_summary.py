"""Many runs in a few lines: nothing is averaged away, and what is no drill is said to be none."""

from __future__ import annotations

import json

import pytest

from securecart.drills import Figure, runs_in, summarise
from securecart.errors import BadInput

RUNS = [
    {
        "mode": "crash",
        "seed": 7,
        "kept": True,
        "seconds_without_checkout": 2.5,
        "lost": 0,
        "goal_read_s": 1.0,
        "chart": {"a": [1]},
    },
    {"mode": "crash", "seed": 8, "kept": False, "seconds_without_checkout": 4.5, "lost": 2, "goal_read_s": 1, "chart": {}},
    {"mode": "crash", "seed": 9, "kept": True, "seconds_without_checkout": 3.0, "lost": 0, "goal_read_s": 1, "chart": {}},
]


def test_documents_stand_one_after_the_other_pretty_or_not() -> None:
    text = json.dumps(RUNS[0], indent=2) + "\n" + json.dumps(RUNS[1]) + "\n\n" + json.dumps(RUNS[2], indent=1)
    assert runs_in(text, "crash.json") == RUNS


def test_the_worst_run_shows_and_every_answer_is_counted() -> None:
    assert summarise(RUNS) == [
        Figure("kept", 3, None, None, 2),
        Figure("seconds_without_checkout", 3, 3.0, 4.5, 10.0),
        Figure("lost", 3, 0.0, 2.0, 2.0),
    ]


def test_a_figure_that_one_run_lacks_is_left_out() -> None:
    assert summarise([{"a": 1, "b": 2}, {"a": 3, "b": None}]) == [Figure("a", 2, 2.0, 3.0, 4.0)]


def test_no_runs_have_no_figures() -> None:
    assert summarise(runs_in("", "empty.json")) == []


@pytest.mark.parametrize("text", ['{"kept": true} what?', "[1]", "{"])
def test_what_is_no_drill_is_refused_by_name(text: str) -> None:
    with pytest.raises(BadInput, match=r"crash\.json"):
        runs_in(text, "crash.json")
