"""The documents say what is so: their code runs, their numbers are the committed results', their links lead on."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

import cap
from bench.reports import kernels as benchmarks
from bench.reports.common.text import to_markdown
from bench.reports.latency import report as speedup_report
from bench.reports.sweep import report
from bench.reports.sweep.attribution import composed
from bench.reports.sweep.claims import claims
from bench.reports.sweep.document import document_text
from bench.reports.sweep.leads import MEAN, leads_over_best
from bench.reports.sweep.summary import SweepResults, summarise
from bench.results.store import Store
from bench.results.timings import Timings
from bench.specs.discovery import load_sweep, sweep_modules

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_readme_starts_with_the_two_commands() -> None:
    first_screen = README.splitlines()[:20]
    assert any("nox -s reproduce_table1" in line for line in first_screen)
    assert any("nox -s tests" in line for line in first_screen)


DOCUMENTS = ("README.md", *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "docs").rglob("*.md"))))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    path = ROOT / document
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), target


def committed_file(path: str) -> bytes:
    """Returns a file as committed: a user's own run replaces the one in the work tree."""
    return subprocess.run(["git", "show", f"HEAD:{path}"], cwd=ROOT, capture_output=True, check=True).stdout


def committed_rows(sweep: str) -> pd.DataFrame:
    return pd.read_parquet(io.BytesIO(committed_file(f"results/embedded/{sweep}.parquet")))


def has_dense_seeds(rows: pd.DataFrame) -> bool:
    return "dense_seed" in rows and bool(rows["dense_seed"].notna().any())


@pytest.fixture(scope="module")
def committed() -> pd.DataFrame:
    return committed_rows("table1")


NOT_RUN = ("headline", "tuning", "smaller")  # without committed results so far
EMBEDDED = [name for name in sweep_modules() if "embedded" in load_sweep(name).profiles and name not in NOT_RUN]


@pytest.mark.parametrize("sweep", EMBEDDED)
def test_every_sweep_has_its_committed_results(sweep: str) -> None:
    """They are those of the sweep as it is defined, all of it, from committed code; the report is made from them."""
    rows = committed_rows(sweep)
    trials = load_sweep(sweep).trials("embedded")
    if any(trial.dense_seed is not None for trial in trials) and not has_dense_seeds(rows):
        pytest.skip(f"not published with dense seeds yet: capbench run {sweep}, capbench publish {sweep}")
    assert list(dict.fromkeys(rows["trial_id"])) == [trial.id for trial in trials]
    assert (rows["status"] == "done").all()
    assert not rows["dirty"].any()
    assert (rows.loc[rows["phase"] != "dense", "violations"] == 0).all()
    predictions = Store(ROOT / "results", "embedded", sweep).predictions()
    text = report.markdown(rows, ROOT / "results", f"{sweep} (embedded)", predictions)
    assert committed_file(f"results/embedded/{sweep}.md").decode() == text
    session = "reproduce_table1" if sweep == "table1" else sweep
    for needed in (f"`nox -s {session}`", f"(results/embedded/{sweep}.md)", f"(results/embedded/{sweep}.png)"):
        assert needed in README


def test_the_readme_table_is_the_committed_result(committed: pd.DataFrame) -> None:
    predictions = Store(ROOT / "results", "embedded", "table1").predictions()
    assert f"<!-- table1 -->\n{document_text(committed, predictions)}<!-- /table1 -->" in README
    assert [claim[:2] for claim in claims(committed)] == ["C1", "C2"]


def test_the_readme_leads_with_what_table_1_found(committed: pd.DataFrame) -> None:
    predictions = Store(ROOT / "results", "embedded", "table1").predictions()
    results = SweepResults.of(committed, predictions)
    mean = {lead.sparsity: lead.estimate for lead in leads_over_best(results, (0.75, 0.9)) if lead.model == MEAN}
    text = " ".join(README.split())
    for sparsity, name in ((0.75, "points "), (0.9, "")):
        low, high = mean[sparsity].interval()
        value = mean[sparsity].value
        assert f"{value:+.2f} {name}({low:+.2f} to {high:+.2f}) at {100 * sparsity:.0f} %" in text
    tuned = results.summary[results.summary["variant"] != "authors"].set_index(["model", "sparsity", "method"])
    one_shot, trained = tuned["one_shot_mean"], tuned["finetuned_mean"]
    assert one_shot["vit", 0.9].idxmax() == "M-FAC"
    for model in ("vit", "convnext", "xcit"):
        close = trained[model, 0.75].drop(["GM", "ALPS"])
        assert close.max() - close.min() < 0.5
    drops = tuned["finetuned_rel_drop"].xs((0.75, "CAP"), level=("sparsity", "method"))
    assert f"lost {drops.min():.1f} to {drops.max():.1f} %" in text


def test_the_page_on_units_quotes_the_committed_sweep() -> None:
    cells = summarise(committed_rows("structured"))
    top1 = cells.set_index(["family", "pattern", "method"])["one_shot_mean"]
    rows = re.findall(r"^\| (\w+), `(\S+)` \| (.*) \|$", (ROOT / "docs/structured.md").read_text(), flags=re.MULTILINE)
    assert len(rows) == 6
    families = {"ViT": "vit", "ConvNeXt": "convnext", "XCiT": "hybrid"}
    for name, pattern, values in rows:
        found = [top1[families[name], pattern, method] for method in ("GM", "Taylor", "CAP")]
        assert values == " | ".join(f"{value:.2f}" for value in found)


def test_the_readme_says_what_the_parts_gain() -> None:
    said = claims(committed_rows("attribution"))
    assert len(said) == 2
    assert all(claim in README for claim in said)
    parts = composed(summarise(committed_rows("attribution")))
    top1 = parts[parts["sparsity"] == 0.9].set_index(["model", "allocation", "mask", "update"])["one_shot_mean"]
    text = " ".join(README.split())
    for model, name in {"vit": "ViT", "convnext": "ConvNeXt", "xcit": "XCiT"}.items():
        obc, alps = (top1[model, "CAP", mask, "own"] for mask in ("OBC", "ALPS"))
        assert f"{name} {obc:.2f} and {alps:.2f} against {top1[model, 'CAP', 'CAP', 'joint']:.2f}" in text


def test_the_readme_says_who_is_best_one_shot() -> None:
    """CAP, the best that does not start from it, and the refit of what it leaves."""
    cells = summarise(committed_rows("one_shot_curves"))
    top1 = cells.pivot_table(index="method", columns=["sparsity", "model"], values="one_shot_mean").round(2)
    text = " ".join(README.split())
    for model, before in {"vit": "on ViT", "convnext": "on ConvNeXt", "xcit": "on XCiT", "simclr": "SimCLR"}.items():
        others = top1[0.9, model].drop(["CAP", "SNOWS"])
        said = re.search(rf"(\d\d\.\d\d)(?: %)? (?:on the self-supervised )?{before} \((\S+) (\d\d\.\d\d)\)", text)
        assert said is not None
        assert (float(said[1]), said[2], float(said[3])) == (top1[0.9, model]["CAP"], others.idxmax(), others.max())
        rest = top1[0.8, model].drop(["CAP", "SNOWS"])
        assert (abs(top1[0.8, model]["CAP"] - rest.max()) < 0.5) == (model != "simclr")
    refitted = [top1[0.9, model]["SNOWS"] for model in ("vit", "convnext", "xcit", "simclr")]
    assert "{:.2f}, {:.2f}, {:.2f} and {:.2f}.".format(*refitted) in text
    assert f"CAP has {top1[0.8, 'simclr']['CAP']:.2f} (ALPS {top1[0.8, 'simclr']['ALPS']:.2f})" in text
    assert top1[0.8, "simclr"].drop(["CAP", "SNOWS"]).idxmax() == "ALPS"
    models = ("vit", "convnext", "xcit", "simclr")
    ahead = [model for model in models if top1[0.9, model]["SNOWS"] > top1[0.9, model]["CAP"]]
    assert ahead == ["vit", "xcit", "simclr"]


def test_the_page_on_chita_quotes_the_committed_objectives() -> None:
    cells = pd.read_csv(io.BytesIO(committed_file("results/objective.csv")))
    names = {"ViT": "vit-0", "ConvNeXt": "convnext-0", "XCiT": "xcit-0"}
    page = (ROOT / "docs/pruners/chita.md").read_text()
    rows = re.findall(r"^\| (\w+), `(\w+)`, ([\d.]+) \| (.*) \|$", page, flags=re.MULTILINE)
    assert len(rows) == 3 * 4 * 2
    for name, pruner, damp, values in rows:
        own = cells[(cells["model"] == names[name]) & (cells["pruner"] == pruner) & (cells["damp"] == float(damp))]
        found = own.sort_values("pattern")[["top1", "objective"]].itertuples(index=False)
        assert values == " | ".join(f"{top1:.2f}, {objective:.2g}" for top1, objective in found)
    table = cells.pivot_table(index=["model", "damp", "pattern"], columns="pruner", values="objective")
    assert (table.idxmin(axis=1) != "cap").sum() == 1
    ratios = (table["chita"] / table["cap"]).xs(0.9, level="pattern")
    assert 2.5 <= ratios.min() < 2.6
    assert 14 <= ratios.max() < 15


def test_table_1_is_whole_and_of_one_commit(committed: pd.DataFrame) -> None:
    assert committed.groupby(["model", "pruner", "phase"])["seed"].nunique().eq(3).all()
    assert committed["commit"].nunique() == 1


def test_the_readme_shows_the_committed_benchmarks(tmp_path: Path) -> None:
    """The table is the one that the committed measurements give, and these are of committed code."""
    (tmp_path / "core.json").write_bytes(committed_file("results/benchmarks/core.json"))
    rows, origin = benchmarks.read(tmp_path / "core.json")
    assert not origin.dirty
    assert to_markdown(benchmarks.compact(rows)) in README
    assert str(origin) in README
    assert benchmarks.markdown(rows, origin) == (ROOT / "results/benchmarks/core.md").read_text()


def test_the_readme_shows_the_committed_speedup(tmp_path: Path) -> None:
    """Its marked place holds what the committed measurements give, and nothing before there are any."""
    names = subprocess.run(["git", "ls-files", "results/speedup"], cwd=ROOT, capture_output=True, text=True, check=True)
    (shown,) = re.findall(r"<!-- speedup -->\n(.*?)<!-- /speedup -->", README, flags=re.DOTALL)
    if not names.stdout:
        assert shown == ""
        return
    for name in ("speedup/speedup.parquet", "embedded/table1.parquet"):
        path = tmp_path / "results" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(committed_file(f"results/{name}"))
    found = speedup_report.LatencyReport(Timings(tmp_path / "results", "speedup"), tmp_path / "results")
    assert not found.rows["dirty"].any()
    assert shown == found.compact(tmp_path)
    assert committed_file("results/speedup/speedup.md").decode() == found.markdown()


def test_the_readmes_pruner_keeps_the_contract(tmp_path: Path) -> None:
    (code,) = re.findall(r"```python\n# my_pruner\.py\n(.*?)```", README, flags=re.DOTALL)
    (tmp_path / "my_pruner.py").write_text(code)
    check = next(line for line in README.splitlines() if line.startswith("capbench check"))
    command = [sys.executable, "-m", "bench", *check.split()[1:]]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout
    assert "0 failed" in done.stdout


def test_the_table_of_pruners_is_what_they_are() -> None:
    """Every registered pruner has a line; needs and patterns are those of its class with default options."""
    lines = (ROOT / "docs/pruners/README.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith(("| `", "| [`"))]
    kinds = {"global": cap.Unstructured(0.5), "layer": cap.Unstructured(0.5, "layer"), "N:M": cap.NM(2, 4)}
    kinds["blocks"] = cap.Blocks(4, 0.5)
    assert sorted(re.findall(r"`(\w+)`", row[0])[0] for row in rows) == cap.available()
    for name, _, needs, _, patterns, source in ((re.findall(r"`(\w+)`", row[0])[0], *row[1:]) for row in rows):
        pruner = cap.create(name)
        assert pruner.needs == needs
        assert re.search(r"arxiv\.org/abs/\d{4}\.\d{5}", source)
        if name not in ("snows", "compose"):  # those have the patterns of others
            listed = set(kinds) if patterns == "all" else set(patterns.partition(";")[0].split(", "))
            assert listed == {kind for kind, pattern in kinds.items() if pruner.supports(pattern) is None}, name


def test_the_refit_on_its_page_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/pruners/snows.md").read_text(), flags=re.DOTALL)
    found: dict[str, object] = {}
    exec(code, found)
    assert abs(found["pruned"].sparsity - 0.75) < 0.001  # type: ignore[attr-defined]


def test_the_code_on_units_runs() -> None:
    pytest.importorskip("torch_pruning", reason="the extra structured is not installed")
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "structured.md").read_text(), flags=re.DOTALL)
    exec(compile(code, "docs/structured.md", "exec"), {})


def test_the_card_that_is_not_there_on_its_page() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "cuda.md").read_text(), flags=re.DOTALL)
    exec(compile(code, "docs/cuda.md", "exec"), {})
