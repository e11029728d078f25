"""The same images from every kind of source."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import PIL.Image
import pytest
import torch

from bench.core.errors import UserError
from bench.data.imagenet import DecodedInputs
from bench.data.own import open_data


def pixels(image: PIL.Image.Image) -> torch.Tensor:
    return torch.tensor(list(image.resize((2, 2)).tobytes()))


def content(text: str) -> list[tuple[list[int], int]]:
    """All inputs and labels of all splits, without an order."""
    found = []
    for split in open_data(text).splits.values():
        for inputs, labels in DecodedInputs(split, pixels).batches(7):
            found += zip(inputs.tolist(), labels.tolist(), strict=True)
    return sorted(found)


def as_parquet(folder: Path, place: Path, name: str = "train-00000-of-00001.parquet") -> None:
    from datasets import load_dataset

    place.mkdir()
    load_dataset("imagefolder", data_dir=str(folder), split="train").to_parquet(place / name)


@pytest.fixture
def sources(own_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """One text for each kind of source of the same images."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setenv("CAPBENCH_WORKERS", "0")
    photos = own_folder / "photos"
    as_parquet(photos, tmp_path / "hub")
    as_parquet(photos, tmp_path / "files", "photos.parquet")
    (tmp_path / "own_data.py").write_text(f"""
from pathlib import Path
import PIL.Image
FILES = sorted(Path({str(photos)!r}).glob("*/*.png"))
def paths():
    return [(path, path.parent.name) for path in FILES]
class Images:
    def __len__(self): return len(FILES)
    def __getitem__(self, index): return PIL.Image.open(FILES[index]), "cat dog owl".split().index(FILES[index].parent.name)
def images():
    return {{"train": Images()}}
""")  # noqa: E501
    return {
        "folder": f"imagefolder:{photos}",
        "parquet": f"parquet:{tmp_path / 'files'}",
        "file": f"parquet:{tmp_path / 'files/photos.parquet'}",
        "hub": f"hub:{tmp_path / 'hub'}",
        "paths": f"{tmp_path / 'own_data.py'}:paths",
        "images": f"{tmp_path / 'own_data.py'}:images",
    }


def test_every_kind_of_source_gives_the_same_images(sources: dict[str, str]) -> None:
    expected = content(sources["folder"])
    assert len(expected) == 30
    assert {label for _, label in expected} == {0, 1, 2}
    for kind, text in sources.items():
        assert content(text) == expected, kind


def test_parts_that_count_their_classes_otherwise_are_refused(
    tmp_path: Path, own_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a cat label 0 is a dog in one file and a cat in the other."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    fewer = shutil.copytree(own_folder / "photos", tmp_path / "fewer", ignore=shutil.ignore_patterns("cat"))
    place = tmp_path / "files"
    as_parquet(own_folder / "photos", place, "train-0.parquet")
    as_parquet(fewer, tmp_path / "other", "test-0.parquet")
    shutil.copy(tmp_path / "other/test-0.parquet", place)
    with pytest.raises(UserError, match=r"classes of train are cat, dog, owl, those of test dog, owl: write all parts"):
        open_data(f"parquet:{place}")


def test_classes_without_an_image_keep_their_numbers(tmp_path: Path, pictures: Any) -> None:
    from datasets import ClassLabel, load_dataset

    rows = load_dataset("imagefolder", data_dir=str(pictures(tmp_path / "photos", 4)), split="train")
    rows = rows.cast_column("label", ClassLabel(names=["cat", "dog", "owl", "yak"]))
    rows.to_parquet(tmp_path / "four.parquet")
    assert open_data(f"parquet:{tmp_path / 'four.parquet'}").classes == ("cat", "dog", "owl", "yak")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def load(): return [1, 2]", r"must return a sequence of \(image, label\)"),
        ("def load(): return [(3, 4)]", "an image is a path or a PIL image"),
        ("def load(): return {'exam': []}", "has a part 'exam': parts are calibration, tuning, train"),
        ("def load(): raise KeyError('x')", "KeyError: 'x'"),
        ("def load(): raise SystemExit(3)", "SystemExit: 3"),
        ("def load(split): ...", "must be callable without arguments"),
        ("load = 3", "is no function but a int"),
        ("def other(): ...", "has no load; it has other"),
        ("def (:", "SyntaxError"),
        ("def load(): return []", "has no image"),
        ("def load(): return [('none.png', 0), ('none.png', 1)]", "none.png cannot be read: No such file"),
        (
            "def load(): return [('none.png', 0), ('none.png', 'a')]",
            "labels that are numbers and labels that",
        ),
        ("def load(): return [('none.png', 2)]", "has one class alone, 2"),
        ("def load(): return [('none.png', 0), ('none.png', -1)]", "an image of class -1: its classes are 0 to 0"),
    ],
)
def test_functions_that_return_something_else(code: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "my_data.py").write_text(code)
    with pytest.raises(UserError, match=message):
        open_data(f"{tmp_path / 'my_data.py'}:load")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("photos", "unknown data 'photos': give imagefolder:FOLDER, parquet:FILE or FOLDER, hub:NAME, or my_data.py:F"),
        ("imagefolder:", "unknown data"),
        ("imagefolder:nowhere", "there is no such folder"),
        ("parquet:nowhere", "there is no such file"),
        ("parquet:nowhere?config=x", r"unknown data 'parquet:nowhere\?config=x': .* KEY=VALUE, .* of image, label"),
        ("hub:nowhere?label=", r"unknown data 'hub:nowhere\?label='"),
        ("hub:nowhere?&", "unknown data .* of config, image, label"),
        ("parquet:?image=a", "unknown data"),
        ("nowhere.py:load", "nowhere.py does not exist"),
    ],
)
def test_sources_that_are_not_there(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_data(text)


def test_columns_by_other_names(own_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As CIFAR-100 has them: two columns of labels, and none by the usual name."""
    from datasets import ClassLabel, load_dataset

    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    rows = load_dataset("imagefolder", data_dir=str(own_folder / "photos"), split="train")
    coarse = [0 if label == 0 else 1 for label in rows["label"]]
    rows = rows.rename_columns({"image": "picture", "label": "fine_label"})
    rows = rows.add_column("coarse_label", coarse).cast_column("coarse_label", ClassLabel(names=["feline", "other"]))
    (tmp_path / "hub").mkdir()
    rows.to_parquet(tmp_path / "hub/train-00000-of-00001.parquet")
    for kind in ("parquet", "hub"):
        place = f"{kind}:{tmp_path / 'hub'}"
        with pytest.raises(UserError, match="has no column label: its columns are picture, fine_label, coarse_label"):
            open_data(place)
        assert open_data(f"{place}?label=fine_label").classes == ("cat", "dog", "owl")
        assert open_data(f"{place}?image=picture&label=coarse_label").classes == ("feline", "other")
        with pytest.raises(UserError, match="has no column colour: its columns are"):
            open_data(f"{place}?label=colour")
    with pytest.raises(UserError, match="cannot be read"):
        open_data(f"hub:{tmp_path / 'hub'}?config=none&label=fine_label")


def test_tables_of_other_columns(tmp_path: Path) -> None:
    from datasets import Dataset

    Dataset.from_dict({"picture": ["a"], "label": [0]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(UserError, match="has no column image or img: its columns are picture, label"):
        open_data(f"parquet:{tmp_path / 'a.parquet'}")
    (tmp_path / "b.parquet").write_text("no parquet")
    with pytest.raises(UserError, match="cannot be read"):
        open_data(f"parquet:{tmp_path / 'b.parquet'}")


def test_a_changed_function_is_read_again(tmp_path: Path, pictures: Any) -> None:
    pictures(tmp_path / "photos", 4)
    code = "from pathlib import Path\ndef load(): return [(p, p.parent.name) for p in Path({!r}).glob('*/[{}].png')]"
    file = tmp_path / "my_data.py"
    counts = []
    for numbers in ("0-3", "0-2"):
        file.write_text(code.format(str(tmp_path / "photos"), numbers))
        counts.append(sum(open_data(f"{file}:load").counts().values()))
    assert counts == [12, 9]
