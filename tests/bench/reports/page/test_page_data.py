"""The page's data: means, intervals, differences, claims, layers, origins."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import cap
from bench.core.errors import UserError
from bench.reports.page.data import PageData
from bench.reports.page.origins import parquet_bytes
from bench.reports.page.report import PageReport
from bench.reports.page.serialization import to_json
from bench.reports.page.template import page_html
from bench.results.folders import CHECKOUT, collected_sweeps
from bench.results.methods import FAMILIES, METHODS
from bench.results.parquet import write_rows
from bench.results.predictions import PREDICTION_SCHEMA
from bench.results.store import Store


def data(*stores: Store) -> PageData:
    return PageReport(stores, stores[0].results).data()


def cell(page: PageData, **wanted: Any) -> Any:
    (found,) = [c for c in page.cells if all(getattr(c, name) == value for name, value in wanted.items())]
    return found


def test_means_intervals_and_differences(table1: Store) -> None:
    page = data(table1)
    cap = cell(page, method="CAP", pattern="0.9", phase="one-shot")
    # 70, 72, 77: mean 73, standard deviation 3.6056, t(0.975, 2) = 4.3027
    half = 4.302653 * 3.605551 / math.sqrt(3)
    assert cap.top1 == pytest.approx((73, 73 - half, 73 + half), rel=1e-5)
    assert cap.drop == pytest.approx((73 - 90, 73 - 90 - half, 73 - 90 + half), rel=1e-5)
    # to magnitude by seed: 20, 21, 25: mean 22, standard deviation 2.6458
    half = 4.302653 * 2.645751 / math.sqrt(3)
    assert cap.gain == pytest.approx((22, 22 - half, 22 + half), rel=1e-5)
    assert cap.seeds == (0, 1, 2)
    assert cap.values == (70, 72, 77)
    assert len(set(cap.trials)) == 3
    assert cell(page, method="CAP", phase="fine-tuned").gain is None  # no magnitude in that phase


def test_whose_settings(table1: Store, write: Any, make: Any, frame: Any) -> None:
    assert cell(data(table1), method="CAP", pattern="0.5").setting == "profile's"
    said = write("said", frame(make("cap", "0.5", [80.0], options={"block_size": 64}, setting="tuned")))
    assert cell(data(said), method="CAP").setting == "tuned"
    authors = {"block_size": 192, "damp": 1e-8, "num_gradients": 4096}
    store = write("other", frame(make("cap", "0.5", [80.0], options=authors), make("magnitude", "0.5", [70.0])))
    assert cell(data(store), method="CAP").setting == "authors'"
    assert cell(data(store), method="GM").setting == ""


def test_one_seed_has_no_interval(write: Any, make: Any, frame: Any) -> None:
    page = data(write("one", frame(make("cap", "0.5", [80.0]))))
    assert cell(page, method="CAP").top1 == (80.0, None, None)


def test_invalid_failed_and_skipped_rows_have_reasons_and_no_accuracy(write: Any, make: Any, frame: Any) -> None:
    rows = frame(
        make("magnitude", "0.5", [80.0, 81.0]),
        make("cap", "0.5", [88.0, 89.0], status="invalid", error="weights are not at the pattern"),
        make("wanda", "0.5", [70.0], status="skipped", error="no global patterns"),
        make("obc", "0.5", [60.0], status="failed", error="out of memory"),
    )
    rows.loc[rows["status"] == "failed", ["pattern", "phase", "top1"]] = None
    page = data(write("mixed", rows))
    for method, status, reason in (
        ("CAP", "invalid", "weights are not at the pattern"),
        ("Wanda", "skipped", "no global patterns"),
        ("OBC", "failed", "out of memory"),
    ):
        found = cell(page, method=method)
        assert (found.status, found.reason, found.top1, found.gain) == (status, reason, None, None)


def test_claims_have_outcome_numbers_and_check(table1: Store) -> None:
    lead = next(line for line in data(table1).claims if line.name == "C2")
    assert lead.statement == "CAP beats GM one-shot"
    assert lead.outcome == "holds"
    assert "2 of 2 cells" in lead.text
    assert lead.code == "bench/reports/sweep/claims/one_shot_lead.py: leads_one_shot"
    assert lead.test.startswith("whether CAP beats the other pruners one-shot")
    assert lead.command.startswith("capbench table table1")


def test_claims_of_several_dense_models_have_their_rule_and_cells(
    write: Any, everywhere: Any, frame: Any, predicted: Any
) -> None:
    rows = frame(everywhere("cap", "0.75", [89.0, 89.0, 89.0], phase="finetuned"))
    store = write("table1", rows)

    def found() -> Any:
        return next(line for line in data(store).claims if line.name == "C1")

    assert found().outcome == "fails"
    assert found().rule.startswith("Confirmed: r lower than 1 % on each; refuted: ")
    assert found().corrected == len(found().cells) == 3
    write_rows(predicted(rows).rows.values(), PREDICTION_SCHEMA, store.collected_predictions)
    assert found().outcome == "undecided", "with the predicted classes of 1,000 images"
    cell = found().cells[0]
    assert (cell.name, cell.unit, cell.seeds, cell.outcome) == ("vit", "%", 3, "undecided")
    assert cell.value == pytest.approx(100 / 90)
    assert cell.low < 1 < cell.high


def test_intervals_of_several_dense_models_are_those_of_the_verdicts(headline: Store) -> None:
    page = data(headline)
    cap = cell(page, method="CAP", setting="tuned", model="vit", pattern="0.5")
    top1, drop, loss, gain = cap.top1, cap.drop, cap.loss, cap.gain
    assert cap.resampled
    assert top1[0] == pytest.approx(89.867, abs=0.07)  # of 1,000 images
    assert drop[0] == pytest.approx(top1[0] - 90, abs=1e-6)
    assert loss[0] == pytest.approx(-100 * drop[0] / 90, abs=1e-6)
    seeds_alone = 4.302653 * 0.152753 / math.sqrt(3)  # of 90.0, 89.9, 89.7 by Student's t
    assert top1[2] - top1[1] > 4 * seeds_alone, "of 1,000 images top-1 is known to one point"
    assert loss[2] - loss[1] < 0.5 * (top1[2] - top1[1]), "the same images decide on both models"
    assert gain[1] < gain[0] < gain[2]
    assert {one.setting for one in page.cells if one.method == "CAP"} == {"authors'", "tuned"}


def test_headline_numbers_leads_and_ranks_of_several_dense_models(headline: Store) -> None:
    found = data(headline).protocol
    numbers = {(one.name, one.model): one for one in found.headlines}
    cap = numbers["CAP tuned", "vit"]
    assert 0.75 < cap.at < 0.9
    assert cap.low < cap.at < cap.high
    assert (cap.method, cap.phase, cap.beyond) == ("CAP", "one-shot", False)
    assert len(numbers) == 3 * 2 * 3
    lead = next(one for one in found.leads if (one.model, one.sparsity) == ("mean", 0.9))
    assert lead.lead[0] == pytest.approx(0.4, abs=0.05)
    assert (lead.best, lead.rivals) == ("WF tuned", 2), "leads are of tuned settings"
    (ranks,) = found.ranks
    assert ranks.title == "one-shot, all layers together"
    assert ranks.pruners[0].name == "CAP tuned"
    assert [one.rank for one in ranks.pruners] == sorted(one.rank for one in ranks.pruners)
    assert all(0 <= first < last < 6 for first, last in ranks.groups)


def test_one_dense_model_has_no_headline(table1: Store) -> None:
    found = data(table1).protocol
    assert (found.headlines, found.leads, found.ranks) == ((), (), ())


def test_layers_by_method_and_pattern(table1: Store) -> None:
    (model,) = data(table1).models
    assert (model.layers, model.weights) == (("fc1.weight", "fc2.weight"), (10, 10))
    assert {(state.method, state.target) for state in model.states} == {
        ("GM", "50 %"), ("GM", "90 %"), ("CAP", "50 %"), ("CAP", "90 %"),
    }  # fmt: skip
    assert all(state.sparsity == (0.4, 0.6) for state in model.states)


def test_origin_of_every_sweep(table1: Store) -> None:
    (origin,) = data(table1).origins
    assert (origin.rows, origin.trials, origin.failed) == (15, 6, 0)
    assert origin.commits == ("c0ffee" * 6,)
    assert origin.command == f"capbench run table1 --results {table1.results}"
    assert origin.folder == f" --results {table1.results}"
    assert origin.versions == {"torch": "2.0"}


def test_text_of_rows_cannot_end_the_script(write: Any, make: Any, frame: Any) -> None:
    rows = frame(make("cap", "0.5", [80.0]), make("obc", "0.5", [1.0], status="failed", error="</script><!--<b>"))
    text = to_json(data(write("odd", rows)))
    assert "<" not in text
    assert "</script><!--<b>" in json.dumps(json.loads(text))


@pytest.fixture(scope="module")
def published() -> PageData:
    """The page's data of all published results."""
    results = CHECKOUT / "results"
    stores = [Store(results, "embedded", name, source=name) for name in collected_sweeps("embedded", results)]
    return PageReport(stores, results).data()


def test_the_page_of_the_published_results_is_below_a_megabyte_and_loads_nothing(published: PageData) -> None:
    results = CHECKOUT / "results"
    stores = [Store(results, "embedded", name) for name in published.sweeps]
    text = page_html(published, parquet_bytes(stores))
    assert len(text.encode()) < 2**20
    for loading in ("src=", "@import", "url(", "fetch(", "XMLHttpRequest", "import("):
        assert loading not in text


def test_the_page_and_the_published_table_agree(published: PageData) -> None:
    known = pd.read_csv(CHECKOUT / "results" / "embedded" / "table1.csv").fillna({"variant": ""})
    for row in known.itertuples():
        wanted = {"model": row.model, "method": row.method, "pattern": str(row.pattern), "phase": "one-shot"}
        wanted["variant"] = row.variant
        found = cell(published, sweep="table1", **wanted)
        assert found.top1[0] == pytest.approx(row.one_shot_mean, rel=1e-5)
        assert found.drop[0] == pytest.approx(-row.one_shot_drop, rel=1e-4, abs=1e-9)


def test_points_of_latency_have_the_accuracy_of_the_same_family(published: PageData) -> None:
    (point,) = [p for p in published.latency if (p.model, p.batch, p.sparsity) == ("deit_small", 64, 0.75)]
    known = pd.read_csv(CHECKOUT / "results" / "speedup" / "speedup.csv")
    row = known[(known["model"] == "deit_small") & (known["batch"] == 64) & (known["sparsity_target"] == 0.75)].iloc[0]
    table = pd.read_csv(CHECKOUT / "results" / "embedded" / "table1.csv")
    table = table[(table["method"] == "CAP") & (table["variant"] != "authors")]
    (vit,) = table[(table["model"] == "vit") & (table["sparsity"] == 0.75)].to_dict("records")
    assert point.times == pytest.approx(row["to_dense"], rel=1e-5)
    assert (point.count, len(point.sources)) == (row["rounds"], 1)
    assert 100 - point.kept == pytest.approx(vit["one_shot_rel_drop"], rel=1e-4)


def test_published_rows_are_made_in_the_working_folder(published: PageData) -> None:
    assert {origin.command for origin in published.origins} >= {"capbench run table1", "capbench run nm"}
    assert {origin.folder for origin in published.origins} == {""}
    assert "capbench table table1" in {line.command for line in published.claims}


def test_every_registered_pruner_has_a_family_and_a_place_of_its_own(published: PageData) -> None:
    assert set(METHODS) == set(cap.available())
    assert {METHODS[name].family for name in METHODS} <= set(FAMILIES)
    places = [(method.family, method.place) for method in published.methods]
    assert len(set(places)) == len(places)


def test_nothing_to_show_and_nowhere_to_write(table1: Store, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no results: run a sweep first"):
        PageReport([], tmp_path)
    with pytest.raises(UserError, match="cannot be written"):
        PageReport([table1], tmp_path).write(tmp_path / "nowhere" / "page.html")


def test_points_that_a_trial_timed_itself(write: Any, make: Any, frame: Any) -> None:
    timed = {"latency_small": 0.02, "latency_dense": 0.05}
    page = data(write("structured", frame(make("cap", "0.5@units", [81.0, 81.0], **timed))))
    found = {point.label: (point.times, point.seconds, point.kept) for point in page.latency}
    assert found["CAP 50 % units one-shot"] == pytest.approx((2.5, 0.02, 90.0))
    assert found["dense"] == pytest.approx((1.0, 0.05, 100.0))
    (point,) = [point for point in page.latency if point.sparsity]
    assert (point.sweep, point.count, len(point.sources)) == ("structured", 1, 2), "two draws of one dense model"
