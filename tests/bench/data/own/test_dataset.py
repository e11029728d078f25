"""Four splits that have no image in common."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from bench.core.errors import UserError
from bench.data.own import SPLITS, OwnData, check_images, open_data


def files(data: OwnData) -> dict[str, set[str]]:
    return {name: {one.path for one in split.rows.images} for name, split in data.splits.items()}


def opened(folder: Path) -> OwnData:
    return open_data(f"imagefolder:{folder}")


def test_a_folder_of_classes_is_cut_into_four(own_folder: Path) -> None:
    data = opened(own_folder / "photos")
    assert data.classes == ("cat", "dog", "owl")
    assert data.counts() == {"calibration": 12, "tuning": 6, "validation": 3, "test": 9}
    found = files(data)
    assert len(set.union(*found.values())) == 30
    assert str(data).endswith("3 classes; images for calibration 12, tuning 6, validation 3, test 9")


def test_the_cut_is_by_content_not_by_name(own_folder: Path, tmp_path: Path) -> None:
    before, moved = files(opened(own_folder / "photos")), tmp_path / "moved"
    shutil.copytree(own_folder / "photos", moved)
    for path in moved.glob("cat/*.png"):
        path.rename(path.with_name(f"z{path.name}"))
    after = files(opened(moved))
    for split in SPLITS:
        names = {Path(path).name for path in before[split] if "/cat/" in path}
        assert {Path(path).name[1:] for path in after[split] if "/cat/" in path} == names


def test_images_that_are_the_same_stay_in_one_split(pictures: Any, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "photos", 6)
    for path in list(folder.glob("*/*.png")):
        shutil.copy(path, path.with_name(f"again{path.name}"))
    for split in files(opened(folder)).values():
        copies = {path for path in split if "again" in path}
        assert {path.replace("again", "") for path in copies} == split - copies


@pytest.mark.parametrize(
    ("parts", "counts"),
    [
        (("calibration", "tuning", "validation", "test"), (6, 6, 6, 6)),
        (("calibration", "test"), (6, 0, 0, 6)),
        (("train", "validation", "test"), (4, 2, 6, 6)),
        (("train", "test"), (3, 2, 1, 6)),
        (("train", "val"), (3, 2, 1, 6)),  # what is held out is the test
    ],
)
def test_folders_named_as_parts(parts: tuple[str, ...], counts: tuple[int, ...], pictures: Any, tmp_path: Path) -> None:
    for number, name in enumerate(parts):
        pictures(tmp_path / name, 2, 2 * number)
    assert tuple(opened(tmp_path).counts().values()) == counts


def test_the_same_image_in_two_splits_is_refused(pictures: Any, tmp_path: Path) -> None:
    pictures(tmp_path / "calibration", 2)
    pictures(tmp_path / "test", 2, 5)
    shutil.copy(tmp_path / "calibration/cat/0.png", tmp_path / "test/dog/other_name.png")
    with pytest.raises(UserError, match=r"cat/0.png \(calibration\) and .*other_name.png \(test\) are the same image"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (("calibration",), "has parts calibration, but no test"),
        (("test", "validation"), "but no calibration"),
        (("train", "calibration", "test"), "has parts calibration and train"),
    ],
)
def test_parts_that_do_not_go_together(parts: tuple[str, ...], message: str, pictures: Any, tmp_path: Path) -> None:
    for number, name in enumerate(parts):
        pictures(tmp_path / name, 2, 2 * number)
    with pytest.raises(UserError, match=message):
        opened(tmp_path)


def test_a_class_beside_parts_is_refused(pictures: Any, tmp_path: Path) -> None:
    pictures(tmp_path / "train", 2)
    (tmp_path / "yak").mkdir()
    with pytest.raises(UserError, match="has train, a part, beside yak, which is none"):
        opened(tmp_path)


def test_too_little(pictures: Any, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "photos", 1)
    with pytest.raises(UserError, match="has 3 different images to make calibration, tuning, validation, test of"):
        opened(folder)
    shutil.rmtree(folder / "cat")
    shutil.rmtree(folder / "dog")
    with pytest.raises(UserError, match="has one class alone, owl"):
        opened(folder)
    with pytest.raises(UserError, match=r"owl has no image in the folder of any class: it needs .*/CLASS/IMAGE.jpg"):
        opened(folder / "owl")


def test_the_checksum_tells_images_and_labels(pictures: Any, tmp_path: Path) -> None:
    first, same, moved, other = (pictures(tmp_path / name, 4) for name in ("first", "same", "moved", "other"))
    (moved / "cat/0.png").rename(moved / "dog/x.png")
    shutil.copy(other / "cat/1.png", other / "cat/0.png")
    checksums = [opened(folder).checksum for folder in (first, same, moved, other)]
    assert checksums[0] == checksums[1]
    assert len(set(checksums)) == 3


def test_an_image_that_is_cut_off(pictures: Any, tmp_path: Path) -> None:
    folder = pictures(tmp_path / "photos", 4)
    check_images(f"imagefolder:{folder}")
    broken = pictures(tmp_path / "broken", 4) / "dog/2.png"
    broken.write_bytes(broken.read_bytes()[:900])
    with pytest.raises(UserError, match=r"dog/2.png cannot be decoded"):
        check_images(f"imagefolder:{tmp_path / 'broken'}")
