"""`capbench list`."""

from __future__ import annotations

import pytest

from bench import cli


def test_lists(capsys: pytest.CaptureFixture[str]) -> None:
    for what, expected in (("pruners", "block_size=192"), ("models", "xcit_small_12_p8_224"), ("sweeps", "embedded: ")):
        cli.main(["list", what])
        assert expected in capsys.readouterr().out
