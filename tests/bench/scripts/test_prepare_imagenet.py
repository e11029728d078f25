from __future__ import annotations

from pathlib import Path

import pytest

from bench.scripts import prepare_imagenet


def test_both_splits_can_be_prepared(imagenet_folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare_imagenet.main()
    assert capsys.readouterr().out == "train: 24 images\nvalidation: 15 images\n"


def test_missing_data_are_one_line(no_network: None) -> None:
    with pytest.raises(SystemExit, match="no imagenet-1k: CAPBENCH_IMAGENET is not set"):
        prepare_imagenet.main()
