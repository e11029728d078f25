from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench.data.card import DataCard
from bench.data.imagenet import cache_folder, find_card
from bench.models import get_model


@pytest.mark.parametrize("layout", ["parquet", "hub", "folders", "shards"])
def test_a_card_has_the_sizes_of_every_layout(layout: str, photos: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find_card() is None, "nothing is known of what the hub would give"
    monkeypatch.setenv("CAPBENCH_IMAGENET", str(photos.root / layout))
    card = find_card()
    assert card is not None
    assert (card.train, card.test, card.whole) == (24, 15, False)
    assert get_model("imagenet", "deit_tiny").identity["data"] == f"imagenet-1k 24+15 {card.checksum}"


def test_another_name_or_label_is_another_checksum(
    photos: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = set()
    for change in ("none", "renamed", "moved", "removed"):
        folder = photos.copy("folders", tmp_path / change)
        first = min((folder / "train").glob("*/*"))
        if change == "renamed":
            first.rename(first.with_name("other.JPEG"))
        elif change == "moved":
            shutil.move(first, max((folder / "train").glob("*")))
        elif change == "removed":
            first.unlink()
        monkeypatch.setenv("CAPBENCH_IMAGENET", str(folder))
        card = find_card()
        assert card is not None
        seen.add(card.checksum)
    assert len(seen) == 4


def test_files_without_names_are_told_by_their_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = set()
    for number, content in enumerate((b"short", b"a good deal longer, so that its size is another")):
        folder = tmp_path / str(number)
        folder.mkdir()
        for split in ("train", "validation"):
            images = [{"bytes": content, "path": None}] * 2
            pq.write_table(pa.table({"image": images, "label": [0, 1]}), folder / f"{split}-0.parquet")
        monkeypatch.setenv("CAPBENCH_IMAGENET", str(folder))
        card = find_card()
        assert card is not None
        seen.add(card.checksum)
    assert len(seen) == 2


def test_a_card_is_kept_for_machines_that_do_not_see_the_images(
    photos: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = photos.copy("folders", tmp_path / "images")
    monkeypatch.setenv("CAPBENCH_IMAGENET", str(folder))
    card = find_card()
    folder.rename(tmp_path / "elsewhere")
    assert find_card() == card
    (kept,) = (cache_folder() / "data").iterdir()
    assert json.loads(kept.read_text())["folder"] == str(folder)
    monkeypatch.setenv("CAPBENCH_IMAGENET", str(tmp_path / "never seen"))
    assert find_card() is None


def test_folders_that_changed_are_read_again(photos: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = photos.copy("folders", tmp_path / "images")
    monkeypatch.setenv("CAPBENCH_IMAGENET", str(folder))
    before = find_card()
    shutil.rmtree(min((folder / "train").glob("*")))
    after = find_card()
    assert before is not None
    assert after is not None
    assert (before.train, after.train) == (24, 16)


def test_the_whole_data_set_has_the_identity_that_is_assumed_where_it_cannot_be_seen() -> None:
    assert DataCard(1_281_167, 50_000, "c0ffee", whole=True).identity("imagenet-1k") == "imagenet-1k"
    assert DataCard(100, 10, "c0ffee", whole=False).identity("imagenet-1k") == "imagenet-1k 100+10 c0ffee"
