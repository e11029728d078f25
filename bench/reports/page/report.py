"""The page of all results: reads parquet, writes one file of HTML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pandas as pd

from bench.core import files
from bench.core.errors import UserError
from bench.reports.latency.analysis import accuracy
from bench.reports.page.cells import OptionTable, cells_of
from bench.reports.page.claims import claim_lines, speedup_line
from bench.reports.page.comparison import comparison_facts, read_document
from bench.reports.page.data import Cell, MethodFacts, PageData
from bench.reports.page.latency import speedup_points, trial_points
from bench.reports.page.made import MadeTable
from bench.reports.page.models import model_facts
from bench.reports.page.origins import made_in, parquet_bytes, sweep_origin, timings_origin
from bench.reports.page.protocol import protocol_facts
from bench.reports.page.protocol_data import ProtocolFacts
from bench.reports.page.submissions import submission_facts
from bench.reports.page.template import page_html
from bench.reports.sweep.summary import SweepResults, read_paper_values
from bench.results import folders
from bench.results.labels import method_order
from bench.results.methods import FAMILIES, method_of, place_in_family
from bench.results.parquet import read_rows
from bench.results.schema import LAYER_SCHEMA
from bench.results.store import Store
from bench.results.submissions import Submission
from bench.results.timings import find_timings

FIRST = "table1"  # sweep that the page opens with
SPEEDUP = "speedup"  # measurements of inference
FILE = "report.html"


class PageReport:
    """Report on sweeps as one page of HTML with tables, figures and the origin of every number.

    Args:
        stores: Results of the sweeps, all of one profile.
        results: Folder of all results, for the measured times and the paper's values; a report on published ones goes
            to the working folder.
        comparison: Results of a comparison that is shown before the sweeps, see
            `bench.reports.page.comparison.find_comparison`.
        submissions: Submissions to the leaderboard.

    Raises:
        UserError: If there is no sweep, or one has no collected results.
    """

    def __init__(
        self,
        stores: Sequence[Store],
        results: Path,
        comparison: Store | None = None,
        submissions: Iterable[Submission] = (),
    ) -> None:
        if not stores and comparison is None:
            raise UserError(f"{results} has no results: run a sweep first, such as capbench run table1")
        self.comparison = comparison
        ordered = sorted(stores, key=lambda store: (store.sweep != FIRST, store.sweep))
        self.stores = [*([] if comparison is None else [comparison]), *ordered]
        self.results = results
        self.rows = {store.sweep: store.read() for store in self.stores}
        for name, rows in self.rows.items():
            if rows["pilot_images"].notna().any():
                raise UserError(f"{name} is a pilot, no result of the benchmark: capbench table shows it")
        self.timings = find_timings(SPEEDUP, results)
        self.submissions = tuple(submissions)

    @property
    def sources(self) -> list[str]:
        """A line for each sweep: which rows are shown, and how many trials are in them."""
        return [
            folders.describe_source(store.results, str(store.collected.relative_to(store.results)), "trial_id", "trial")
            for store in self.stores
        ]

    def data(self) -> PageData:
        """Returns all that the page shows."""
        options, made, paper = OptionTable(), MadeTable(), read_paper_values(self.results)
        found = {store.sweep: SweepResults.of(self.rows[store.sweep], store.predictions()) for store in self.stores}
        cells = [cell for sweep, results in found.items() for cell in cells_of(sweep, results, paper, options, made)]
        claims = [
            line
            for store in self.stores
            if store is not self.comparison
            for line in claim_lines(store.sweep, found[store.sweep], made_in(store).command("table") or "")
        ]
        points = list(trial_points(self.rows))
        origins = [sweep_origin(store, self.rows[store.sweep]) for store in self.stores]
        if self.timings.collected.exists():
            kept = accuracy(self.results)
            claims += speedup_line(self.timings, kept)
            points += speedup_points(self.timings, kept)
            origins.append(timings_origin(self.timings))
        facts = None
        if self.comparison is not None:
            document = read_document(self.comparison)
            facts = comparison_facts(
                document, self.rows[self.comparison.sweep], options, bool(self.comparison.predictions().rows)
            )
        submitted = submission_facts(self.submissions, options)
        return PageData(
            title=facts.title if facts else f"Pruners compared ({self.stores[0].profile})",
            profile=self.stores[0].profile,
            sweeps=tuple(self.rows),
            families=FAMILIES,
            claims=tuple(sorted(claims, key=lambda line: (line.name == "", line.name, line.sweep != FIRST))),
            protocol=sum((protocol_facts(sweep, results) for sweep, results in found.items()), ProtocolFacts()),
            cells=tuple(cells),
            latency=tuple(points),
            methods=tuple(_methods(cells)),
            models=tuple(model_facts(cells, self.rows, _layers(self.stores))),
            origins=tuple(origins),
            options=options.texts,
            made=made.all,
            comparison=facts,
            submissions=submitted,
        )

    def write(self, output: Path | None = None) -> Path:
        """Writes the page and returns its path.

        Args:
            output: The file; by default `report.html` in the folder of results, of a comparison beside its files.

        Raises:
            UserError: If it cannot be written there.
        """
        path = output or self._place()
        if path.is_dir() or (output is not None and not path.parent.is_dir()):
            raise UserError(f"{path} cannot be written: give a file in a folder that exists")
        text = page_html(self.data(), parquet_bytes(self.stores))
        path.parent.mkdir(parents=True, exist_ok=True)
        with files.atomic_write(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
        return path

    def _place(self) -> Path:
        if self.comparison is None:
            return folders.reports(self.results) / FILE
        return self.comparison.collected.with_suffix(".html")


def _methods(cells: Iterable[Cell]) -> list[MethodFacts]:
    """Returns the methods of cells, in the order of tables."""
    pruners = {cell.method: cell.pruner for cell in cells}
    found = []
    for name in sorted(pruners, key=method_order):
        facts = method_of(pruners[name])
        place = place_in_family(name, pruners[name])
        found.append(MethodFacts(name, pruners[name], facts.family, place, facts.idea, facts.source, facts.place,
                                 facts.authors))  # fmt: skip
    return found


def _layers(stores: Iterable[Store]) -> dict[str, pd.DataFrame]:
    """Returns the rows of layers by sweep, of those that have the file."""
    return {
        store.sweep: read_rows(store.collected_layers, LAYER_SCHEMA).to_pandas()
        for store in stores
        if store.collected_layers.exists()
    }
