"""What is printed, whatever words it is made of."""

import json
import math

import pytest

from sa_vae_tf.errors import LONGEST, UserError, one_line
from sa_vae_tf.messages import json_line

# Escape sequences of terminals of 7 and 8 bits, ends of line of Unicode, marks that turn the direction of text.
UNSEEN = [
    "\x1b[31m",
    "\x9b2J",
    "\x07",
    "\x7f",
    "\0",
    "\u2028",
    "\u2029",
    "\x85",
    "\u202e",
    "\ufeff",
    "\udc80",
    "\U000e0001",
]
SEEN = ["<script>alert(1)</script>", "vögel 日本 🐦", 'a "quoted" \\ word', "| a | b |"]


@pytest.mark.parametrize("text", [*UNSEEN, *SEEN])
def test_a_record_is_one_line_that_a_terminal_shows_as_it_is(text):
    record = {"text": f"a {text} b", "log_probability": -1.5, "line": 3}
    line = json_line(record)
    assert line.endswith("\n")
    assert line[:-1].isprintable()
    assert len(line.encode().splitlines()) == len(line.splitlines()) == 1
    assert json.loads(line) == record
    assert (text in line) == (text in SEEN and '"' not in text)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_null(value):
    assert json_line({"log_probability": value}) == '{"log_probability": null}\n'


@pytest.mark.parametrize("text", UNSEEN)
def test_an_error_is_one_line_that_a_terminal_shows_as_it_is(text):
    message = str(UserError(f"some.txt: line 3:\n  expected a word, found {text}"))
    assert message.isprintable()
    assert message.startswith("some.txt: line 3: expected a word, found")
    assert text not in message


def test_an_endless_error_keeps_its_ends():
    line = one_line(f"--flag={'x' * 1_000_000}: expected less")
    assert len(line) <= LONGEST
    assert line.startswith("--flag=xxx")
    assert line.endswith("xxx: expected less")


@pytest.mark.parametrize("text", SEEN)
def test_what_can_be_seen_stays(text):
    assert str(UserError(text)) == text
