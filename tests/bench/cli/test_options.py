"""Options on the command line."""

from __future__ import annotations

from bench.cli.options import read_options


def test_option_values_are_json_or_text() -> None:
    texts = ("a=1", "b=2.5e-3", "c=true", "d=null", "e=[1, 2]", 'f="1"', "g=mean", "h=x=y", "i=")
    expected = {"a": 1, "b": 0.0025, "c": True, "d": None, "e": [1, 2], "f": "1", "g": "mean", "h": "x=y", "i": ""}
    assert read_options(texts) == expected


def test_options_are_json_where_they_can_be() -> None:
    texts = ("a=1e-8", "b=true", "c=[1, 2]", "d=some text", "e=null", "f=", "g=x=y")
    assert read_options(texts) == {
        "a": 1e-8, "b": True, "c": [1, 2], "d": "some text", "e": None, "f": "", "g": "x=y",
    }  # fmt: skip
