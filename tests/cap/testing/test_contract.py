"""The contract of every registered pruner, and that each check of it can fail."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

import cap
from cap.registry import import_file
from cap.testing import CHECKS, PATTERNS, Check, Outcome, Subject, run_check, run_checks

FILE = Path(__file__).with_name("broken_pruners.py")
WRITTEN = {
    name: kind
    for name, kind in vars(import_file(FILE)).items()
    if inspect.isclass(kind) and issubclass(kind, cap.Pruner)
}
BROKEN = [name for name, kind in WRITTEN.items() if "BREAKS" in vars(kind)]
names_of_checks = pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)


@pytest.mark.parametrize("name", cap.available())
@names_of_checks
def test_contract(check: Check, name: str) -> None:
    outcome = run_check(check, Subject(name, {}))
    if outcome.status == "skipped":
        assert check.name == "monotone masks" or (name, check.name) in {("sparsegpt", "scores"), ("sparsegpt", "state")}
        pytest.skip(outcome.message)
    assert outcome.status == "passed", outcome.message


def outcomes(kind: str, **options: object) -> dict[str, Outcome]:
    return {outcome.check.name: outcome for outcome in run_checks(f"{FILE}:{kind}", options)}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_pruner_breaks_its_check_and_no_other(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FILE.parents[1])
    found = outcomes(kind)
    failed = {name: outcome.message for name, outcome in found.items() if outcome.status == "failed"}
    assert list(failed) == [WRITTEN[kind].BREAKS]
    assert WRITTEN[kind].FINDS in failed[WRITTEN[kind].BREAKS]
    names = list(found)
    after = [found[name] for name in names[names.index(WRITTEN[kind].BREAKS) + 1 :]]
    gated = found[WRITTEN[kind].BREAKS].check.gate
    assert {outcome.message for outcome in after} == {f"not run, because {WRITTEN[kind].BREAKS!r} failed"} or not gated


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
def test_a_pattern_that_is_not_followed(pattern: cap.Pattern) -> None:
    failed = [
        name for name, outcome in outcomes("BreaksAPattern", at=str(pattern)).items() if outcome.status == "failed"
    ]
    assert failed == [f"pattern {pattern}"]


@pytest.mark.parametrize("kind", [name for name in WRITTEN if name not in BROKEN])
def test_sound_pruners_of_ones_own(kind: str) -> None:
    found = outcomes(kind)
    assert [outcome.message for outcome in found.values() if outcome.status == "failed"] == []
    skipped = {name: outcome.message for name, outcome in found.items() if outcome.status == "skipped"}
    expected = {
        "WithoutDocstring": ["docstring"],
        "TurnsRoundAndSaysSo": ["monotone masks"],
        "TwoMethods": ["scores", "monotone masks"],
        "KeepsTheModel": ["scores", "monotone masks", "state"],
    }
    unstructured_alone = ["exact count", "monotone masks", "any order", "sparsity 0", "zeros stay"]
    assert list(skipped) == {**expected, "GroupsAlone": unstructured_alone}.get(kind, [])
    if kind == "RefusesBatches":
        assert found["batch gradients"].message == "refused: RefusesBatches needs per-sample gradients"
    if kind == "GroupsAlone":
        assert found["pattern 0.6"].message == "refused: GroupsAlone keeps N of M weights and does nothing else"


def test_every_check_can_fail() -> None:
    breakable = {WRITTEN[kind].BREAKS for kind in BROKEN} | {f"pattern {pattern}" for pattern in PATTERNS}
    assert breakable == {check.name for check in CHECKS}


@names_of_checks
def test_every_check_says_what_is_required_and_how_to_mend_it(check: Check) -> None:
    requirement, _, advice = check.explanation.partition("\n\n")
    assert requirement.endswith(".")
    assert len(advice.split()) > 30


def test_options_of_the_user_win_and_limit_what_is_asked() -> None:
    assert vars(Subject("cap", {}).create())["block_size"] == 8
    assert vars(Subject("cap", {"block_size": 16}).create())["block_size"] == 16
    found = list(run_checks("cap", {"max_sparsity": 0.7}))
    assert [outcome.message for outcome in found if outcome.status == "failed"] == []
    with pytest.raises(ValueError, match="unknown pruner 'capp'"):
        next(run_checks("capp", {}))


def test_fits_say_how_far_they_are() -> None:
    shown: list[tuple[int, int, str]] = []
    list(run_checks(f"{FILE}:KeepsTheModel", {}, lambda *progress: shown.append(progress)))
    assert set(shown) == {(1, 2, "halves")}
    assert len(shown) > 10
