from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from bench.core.errors import UserError
from bench.data.imagenet import cache_folder, check_data, find_card, load_stored_split
from bench.data.imagenet.shards import find_shards, read_indices


def write(file: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(file, "w") as shard:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            shard.addfile(member, io.BytesIO(content))
    return file


def test_images_are_read_at_random_and_the_index_once(
    photos: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = find_shards(photos.root / "shards", "train")
    assert [file.name for file in files] == ["imagenet1k-train-0000.tar", "imagenet1k-train-0001.tar"]
    (first, second) = read_indices(files, tmp_path / "kept")
    assert len(list((tmp_path / "kept").iterdir())) == 2
    with monkeypatch.context() as patch:
        patch.setattr(tarfile.TarFile, "__iter__", lambda _: pytest.fail("the headers were read already"))
        again = read_indices(files, tmp_path / "kept")
    assert (again[1].names == second.names).all()
    assert (again[1].offsets == second.offsets).all()
    monkeypatch.setenv("CAPBENCH_IMAGENET", str(photos.root / "shards"))
    stored = load_stored_split("train")
    expected = photos.stored("train")
    assert [stored.rows[n]["image"]["bytes"] for n in (23, 0, 12, 11)] == [expected[n][1] for n in (23, 0, 12, 11)]
    assert stored.rows[12]["image"]["path"] == f"{files[1]}/000012.jpg"
    assert len(stored.rows) == len(first.labels) + len(second.labels) == 24


def test_a_shard_that_changes_is_read_again(tmp_path: Path) -> None:
    members = {"x.jpg": b"12", "x.cls": b" 7\n", "x.seg.jpg": b"", "a/x.cls": b"3", "a/x.JPEG": b"4567"}
    file = write(tmp_path / "train-0.tar", members)
    [index] = read_indices([file], tmp_path)
    assert index.names.tolist() == [b"x.jpg", b"a/x.JPEG"]
    assert (index.labels.tolist(), index.sizes.tolist()) == ([7, 3], [2, 4])
    write(file, {"x.jpg": b"12", "x.cls": b"8"})
    os.utime(file, ns=(1, 1))
    assert read_indices([file], tmp_path)[0].labels.tolist() == [8]


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"x.jpg": b"1"}, r"x\.jpg has no class: it needs a file of the same name that ends in \.cls"),
        ({"x.jpg": b"1", "x.cls": b"n01440764"}, r"x\.jpg has the class 'n01440764', which is no number from 0 to 999"),
        ({"x.txt": b"1"}, r"has no image: samples of a shard are KEY\.jpg and KEY\.cls"),
    ],
)
def test_what_is_wrong_with_a_shard_is_told(members: dict[str, bytes], message: str, tmp_path: Path) -> None:
    file = write(tmp_path / "train-0.tar", members)
    with pytest.raises(UserError, match=rf"^{file}:? {message}$"):
        read_indices([file], tmp_path)


def test_shards_that_cannot_be_read_are_named_before_any_work(
    photos: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = photos.copy("shards", tmp_path / "shards")
    monkeypatch.setenv("CAPBENCH_IMAGENET", str(folder))
    check_data()
    (last,) = folder.glob("*validation-0001.tar")
    content = last.read_bytes()
    last.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=rf"^{last} is no whole tar file \(.*\): fetch it again$"):
        load_stored_split("test")
    assert find_card() is None
    last.write_bytes(b"<html>no such file</html>" * 50)
    with pytest.raises(UserError, match=rf"^{last} is no readable tar file \([^\n]*\): fetch it again$"):
        check_data()
    last.rename(last.with_suffix(".tar.gz"))
    with pytest.raises(UserError, match=r"0001.tar.gz is compressed, so no image can be read by itself: decompress"):
        check_data()
    for file in folder.glob("*validation*"):
        file.unlink()
    with pytest.raises(UserError, match=rf"{folder} has no \*validation-\*\.tar; set CAPBENCH_IMAGENET to"):
        check_data()


def test_the_index_is_kept_where_cards_are(photos: Any, no_network: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPBENCH_IMAGENET", str(photos.root / "shards"))
    card = find_card()
    assert card is not None
    assert (card.train, card.test) == (24, 15)
    assert len(list((cache_folder() / "shards").iterdir())) == 4


def test_other_tar_files_are_no_shards(tmp_path: Path) -> None:
    for name in ("ILSVRC2012_img_train.tar", "ILSVRC2012_devkit_t12.tar.gz", "val_00.tar", "training.tar"):
        (tmp_path / name).touch()
    assert find_shards(tmp_path, "train") == []
    assert [file.name for file in find_shards(tmp_path, "validation")] == ["val_00.tar"]
