"""The page's data as typed rows, which its script reads as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.reports.page.claim_data import ClaimLine
from bench.reports.page.comparison_data import ComparisonFacts, Interval
from bench.reports.page.made import Made
from bench.reports.page.protocol_data import ProtocolFacts
from bench.reports.page.submission_data import SubmissionFacts


@dataclass(frozen=True)
class Cell:
    """One pruner at one setting, pattern and phase on one model, over its seeds. What was not measured is None.

    Attributes:
        sweep: Name of the sweep.
        model: Name of the model.
        pruner: Registered name, or `path/to/file.py:ClassName`.
        method: Name of the method for readers.
        variant: What tells its trials from others of the method, in words.
        by_parts: Whether the variant is the parts of a composed pruner, which name it without the method.
        family: One of `bench.results.methods.FAMILIES`.
        setting: Whose settings: `authors'`, `tuned`, `profile's` or nothing.
        pattern: Sparsity pattern.
        target: The same in words.
        kind: What weights the pattern ranks together.
        sparsity: Fraction of zeros asked for.
        phase: Name of the phase for readers.
        regime: Name of the regime for readers.
        status: One of `bench.results.store.STATUSES`.
        reason: Why there is no valid result.
        top1: Top-1, percent.
        top1_dense: The same of the dense model.
        drop: Top-1 less the dense model's, points.
        loss: Loss of top-1 relative to the dense model's, percent.
        gain: Top-1 less that of magnitude at the same seed, points.
        kept: Top-1 relative to the dense model's, percent.
        paper: Published value for the same network, or for the paper's of the family, percent.
        agreement: Test images that get the dense model's class, percent.
        fit_seconds: Time of the fit, mean, seconds.
        prune_seconds: Time of reading the weights off, mean, seconds.
        peak_memory_bytes: Peak memory of the fit, largest.
        predicted: Increase of the calibration loss by the pruner's model, mean.
        observed: Increase of the calibration loss, mean.
        seeds: Seeds.
        resampled: Whether intervals are of several dense models and, where predicted classes are stored, test images.
        values: Top-1 of each seed, percent.
        trials: Identities of the trials, by seed.
        options: Place of the options among those of the page.
        made: Place of how it was made, likewise.
    """

    sweep: str
    model: str
    pruner: str
    method: str
    variant: str
    by_parts: bool
    family: str
    setting: str
    pattern: str | None
    target: str
    kind: str
    sparsity: float | None
    phase: str
    regime: str
    status: str
    reason: str | None
    top1: Interval | None
    top1_dense: float | None
    drop: Interval | None
    loss: Interval | None
    gain: Interval | None
    kept: float | None
    paper: float | None
    agreement: float | None
    fit_seconds: float | None
    prune_seconds: float | None
    peak_memory_bytes: float | None
    predicted: float | None
    observed: float | None
    seeds: tuple[int, ...]
    resampled: bool
    values: tuple[float, ...]
    trials: tuple[str, ...]
    options: int
    made: int


@dataclass(frozen=True)
class LatencyPoint:
    """Accuracy beside a measured time of inference.

    Attributes:
        model: Name of the timed model.
        method: Method whose accuracy it is.
        family: Family of the method.
        label: What was timed.
        sparsity: Fraction of zeros.
        times: Times as fast as dense.
        seconds: Time of one pass, median, seconds.
        kept: Top-1 relative to the dense model's, percent, mean over seeds.
        note: What time and accuracy were measured on.
        batch: Images in a pass; None where the trial timed it.
        group: Source of the time: `speedup` or `trial`.
        sweep: Name of the measurements, or of the sweep.
        count: Rounds that were timed, or dense models whose trials timed one each.
        sources: Cell of the measurements, or identities of the trials.
    """

    model: str
    method: str
    family: str
    label: str
    sparsity: float
    times: float
    seconds: float
    kept: float
    note: str
    batch: int | None
    group: str
    sweep: str
    count: int
    sources: tuple[str, ...]


@dataclass(frozen=True)
class MethodFacts:
    """A method's page.

    Attributes:
        method: Name of the method for readers.
        pruner: Registered name, or `path/to/file.py:ClassName`.
        family: One of `bench.results.methods.FAMILIES`.
        place: Place within the family, by which markers and shades are told apart.
        idea: What it does, in one sentence.
        source: Number of the paper at arXiv.
        where: Equation or algorithm of the paper.
        authors: Options at the authors' values.
    """

    method: str
    pruner: str
    family: str
    place: int
    idea: str
    source: str | None
    where: str
    authors: Mapping[str, Any]


@dataclass(frozen=True)
class LayerSparsity:
    """Sparsity of every layer of a model in one state, mean over seeds.

    Attributes:
        sweep: Name of the sweep.
        method: Name of the method.
        variant: Variant of the method.
        target: Pattern in words.
        sparsity: Fraction of zeros by layer, in the order of the model's layers.
    """

    sweep: str
    method: str
    variant: str
    target: str
    sparsity: tuple[float | None, ...]


@dataclass(frozen=True)
class ModelFacts:
    """A model's page.

    Attributes:
        model: Name of the model.
        timm_name: timm's name of the architecture.
        dataset: Name of the data set.
        top1: Top-1 of the dense model, percent.
        parameters: Parameters of the dense model.
        macs: Its multiply-adds of a forward pass for one image.
        layers: Names of the layers that are pruned.
        weights: Number of weights of each.
        states: Sparsity of the layers by method and pattern.
    """

    model: str
    timm_name: str
    dataset: str
    top1: float | None
    parameters: int | None
    macs: int | None
    layers: tuple[str, ...]
    weights: tuple[int, ...]
    states: tuple[LayerSparsity, ...]


@dataclass(frozen=True)
class Origin:
    """Where the rows of a sweep come from.

    Attributes:
        sweep: Name of the sweep.
        file: File of the rows, as the user would name it.
        sha256: Hash of the file.
        rows: Number of rows.
        trials: Number of trials.
        failed: Number of rows without a valid result, of models that were to be pruned.
        commits: Commits of the code, or the version of an installed one.
        dirty: Whether tracked files differed from them.
        versions: Versions of packages.
        devices: Names of processors or cards.
        threads: Threads of a process.
        started: First and last start of a trial, UTC.
        command: Command that makes the rows.
        folder: Option of a command for the folder of results, empty for the usual one.
    """

    sweep: str
    file: str
    sha256: str
    rows: int
    trials: int
    failed: int
    commits: tuple[str, ...]
    dirty: bool
    versions: Mapping[str, str]
    devices: tuple[str, ...]
    threads: tuple[int, ...]
    started: tuple[str, ...]
    command: str
    folder: str


@dataclass(frozen=True)
class PageData:
    """All that the page shows.

    Attributes:
        title: Title of the page.
        profile: Name of the profile.
        sweeps: Names of the sweeps, the one that is shown first at the front.
        families: Families of methods, in the order of legends.
        claims: Claims.
        protocol: Headline numbers, leads and ranks, of several dense models.
        cells: Results.
        latency: Accuracy beside measured times.
        methods: Methods, in the order of tables.
        models: Models, in the order of tables.
        origins: Origin of the rows, by sweep.
        options: JSON of pruners' options, each once.
        made: How cells were made, each way once.
        comparison: Comparison that the page is of; None where it is of sweeps.
        submissions: Submissions to the leaderboard, verified ones first.
    """

    title: str
    profile: str
    sweeps: tuple[str, ...]
    families: tuple[str, ...]
    claims: tuple[ClaimLine, ...]
    protocol: ProtocolFacts
    cells: tuple[Cell, ...]
    latency: tuple[LatencyPoint, ...]
    methods: tuple[MethodFacts, ...]
    models: tuple[ModelFacts, ...]
    origins: tuple[Origin, ...]
    options: tuple[str, ...]
    made: tuple[Made, ...]
    comparison: ComparisonFacts | None = None
    submissions: tuple[SubmissionFacts, ...] = ()
