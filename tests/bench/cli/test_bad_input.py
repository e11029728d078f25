"""Mistakes on the command line, a line a case: one line that says what is valid, exit status 2, nothing written."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from bench import cli

SWEEP = """
from bench import Sweep, grid
SWEEP = Sweep(name={name!r}, title="Mine", profiles={{"embedded": grid(sweep={name!r}, profile="embedded", {fields})}})
"""
FIELDS = {  # of the trials of a user's sweep; each is a file NAME.py
    "good": 'model="vit", pruner="magnitude", patterns=("0.5",), seed=0',
    "no_model": 'model="resnet", pruner="magnitude", patterns=("0.5",), seed=0',
    "no_pruner": 'model="vit", pruner="obs", patterns=("0.5",), seed=0',
    "no_file": 'model="vit", pruner="none.py:Mine", patterns=("0.5",), seed=0',
    "no_option": 'model="vit", pruner="magnitude", pruner_options={"power": 2}, patterns=("0.5",), seed=0',
    "bad_option": 'model="vit", pruner="cap", pruner_options={"block_size": 0}, patterns=("0.5",), seed=0',
    "no_field": 'model="vit", pruner="magnitude", patterns=("0.5",), seed=0, color="red"',
    "no_pattern": 'model="vit", pruner="magnitude", patterns=("half",), seed=0',
    "empty": 'model="vit", pruner="magnitude", patterns=(), seed=0',
    "pattern_twice": 'model="vit", pruner="magnitude", patterns=("0.5", "0.50"), seed=0',
    "seed_twice": 'model="vit", pruner="magnitude", patterns=("0.5",), seed=[0, 0]',
    "seed_below": 'model="vit", pruner="magnitude", patterns=("0.5",), seed=-1',
    "seed_beyond": f'model="vit", pruner="magnitude", patterns=("0.5",), seed={10**23}',
    "all_gone": 'model="vit", pruner="magnitude", patterns=("0.9999999",), seed=0',
    "images_beyond": 'model="vit", pruner="cap", patterns=("0.5",), seed=0, calibration={"images": 10_000_000}',
    "images_none": 'model="vit", pruner="cap", patterns=("0.5",), seed=0, calibration={"images": 0}',
    "gradients_beyond": 'model="vit", pruner="cap", pruner_options={"num_gradients": 100}, patterns=("0.5",), seed=0, '
    'calibration={"images": 64}',
    "raises": 'model="vit", pruner="broken.py:Raises", patterns=("0.5",), seed=0',
    "no_class": 'model="vit", pruner="broken.py:Nothing", patterns=("0.5",), seed=0',
    "no_python": 'model="vit", pruner="syntax.py:Mine", patterns=("0.5",), seed=0',
    "tune_unknown": 'model="vit", pruner="magnitude", patterns=("0.5",), seed=0, finetune_at=("0.9",)',
}
FILES = {
    **{f"{name}.py": SWEEP.format(name=name, fields=fields) for name, fields in FIELDS.items()},
    "table1.py": SWEEP.format(name="table1", fields=FIELDS["good"]),
    "outside.py": SWEEP.format(name="../../evil", fields=FIELDS["good"]),
    "reserved.py": SWEEP.format(name="compare", fields=FIELDS["good"]),
    "no_sweep.py": "x = 1\n",
    "other_sweep.py": "SWEEP = 1\n",
    "syntax.py": "def (:\n",
    "exits.py": "raise SystemExit(3)\n",
    "broken.py": "import cap\nclass Raises(cap.ScorePruner):\n    def __init__(self): raise ZeroDivisionError('no')\n"
    "    def scores(self, model, layers, calibration): ...\n",
    "more.py": "import cap\nclass More(cap.ScorePruner):\n    def __init__(self, needed): ...\n"
    "    def scores(self, model, layers, calibration): ...\n",
    "words.txt": "no parquet, no JSON",
    "bad.toml": "time = \n",
    "stray.toml": "colour = 'red'\n",
    "late.toml": "time = 1\nsignal_delay = 60\n",
}
ROOT = Path(__file__).parents[3]
HERE = "--results out"
CASES = [  # a command, and a part of the one line that it answers
    ("run", "--sweep requires an argument"),
    (f"run tabel1 {HERE}", "unknown sweep 'tabel1': choose from ablation, "),
    (f"run table1 {HERE} --only model=resnet", "choose from convnext, vit, xcit"),
    (f"run table1 {HERE} --only pruner=obs", "choose from alps, cap, gradient_weight"),
    (f"run table1 {HERE} --only vit", "write key=value"),
    (f"run table1 {HERE} --only colour=red", "write key=value with a key of model, family, pruner"),
    (f"run table1 {HERE} --only", "--only requires at least 1 element"),
    (f"run table1 {HERE} --only ''", "cannot filter by '': write key=value"),
    (f"run table1 {HERE} --only=", "cannot filter by '': write key=value"),
    (f"run table1 {HERE} --only model=", "cannot filter by 'model=': write key=value"),
    (f"run table1 {HERE} --only model=vit --only family=hybrid", "no trial matches model=vit family=hybrid"),
    (f"run table1 {HERE} --seeds 0 9", "no seed 9: choose from 0, 1, 2"),
    (f"run table1 {HERE} --seeds x", "--seeds"),
    (f"run table1 {HERE} --seeds", "--seeds requires at least 1 element"),
    (f"run table1 {HERE} --seeds 0 0", "--seeds has 0 twice"),
    (f"run table1 {HERE} --profile laptop", "no profile 'laptop'"),
    (f"run table1 {HERE} --jobs 0", "--jobs 0 is not valid: give at least 1"),
    (f"run table1 {HERE} --jobs two", "--jobs"),
    (f"run table1 {HERE} --memory-gb 0", "--memory-gb 0.0 is not valid: give a number larger than 0"),
    (f"run table1 {HERE} --memory-gb nan", "--memory-gb nan is not valid"),
    (f"run table1 {HERE} --device cuda:77", "--device cuda:77 cannot be used"),
    (f"run table1 {HERE} --device tpu9", "--device tpu9 cannot be used"),
    (f"run table1 {HERE} --colour", "--colour"),
    (f"run table1 {HERE} --retry lost", "--retry"),
    (f"run table1 {HERE} --retry failed", "no trial to retry"),
    (f"run table1 {HERE} --cluster cloud", "--cluster"),
    (f"run table1 {HERE} --partition gpu", "an inline run has no --partition: it needs --cluster slurm"),
    (f"run table1 {HERE} --micro-batch 8", "an inline run has no --micro-batch"),
    (f"run table1 {HERE} --cluster local --jobs 2", "--jobs is for inline runs: give --max-parallel"),
    (f"run table1 {HERE} --cluster local --allow-dirty --nodes 2", "--cluster local has one node, not 2"),
    (f"run table1 {HERE} --cluster local --micro-batch 0", "--micro-batch 0 is not valid: give at least 1"),
    (f"run table1 {HERE} --cluster slurm --time soon", "time"),
    (f"run table1 {HERE} --cluster local --cluster-file none.toml", "--cluster-file none.toml does not exist"),
    (f"run table1 {HERE} --cluster local --cluster-file bad.toml", "bad.toml is no TOML"),
    (f"run table1 {HERE} --cluster local --cluster-file stray.toml", "valid names are"),
    (f"run table1 {HERE} --cluster slurm --allow-dirty --cluster-file late.toml", "leaves nothing of 1 minutes"),
    ("run table1 --results words.txt", "cannot write results to words.txt"),
    (f"run none.py {HERE}", "none.py"),
    (f"run no_sweep.py {HERE}", "defines no SWEEP"),
    (f"run other_sweep.py {HERE}", "SWEEP of other_sweep.py is no bench.Sweep but a int"),
    (f"run syntax.py {HERE}", "SyntaxError"),
    (f"run exits.py {HERE}", "SystemExit: 3"),
    (f"run table1.py {HERE}", "the name 'table1' is taken"),
    (f"run reserved.py {HERE}", "the name 'compare' is taken"),
    (f"run outside.py {HERE}", "'../../evil'"),
    (f"run no_model.py {HERE}", "unknown model 'resnet' in profile 'embedded': choose from"),
    (f"run no_pruner.py {HERE}", "unknown pruner 'obs': choose from alps, cap, chita"),
    (f"run no_file.py {HERE}", "pruner file none.py does not exist"),
    (f"run no_option.py {HERE}", "pruner 'magnitude' has no option power"),
    (f"run bad_option.py {HERE}", "block_size"),
    (f"run no_field.py {HERE}", "color"),
    (f"run no_pattern.py {HERE}", "half"),
    (f"run empty.py {HERE}", "patterns"),
    (f"run pattern_twice.py {HERE}", "0.5 twice"),
    (f"run seed_twice.py {HERE}", "seed 0 with {} stands twice in embedded"),
    (f"run seed_below.py {HERE}", "seed: Input should be greater than or equal to 0"),
    (f"run seed_beyond.py {HERE}", "seed: Input should be less than or equal to 92233"),
    (f"run all_gone.py {HERE}", "none is left"),
    (f"run images_beyond.py {HERE}", "calibration.images is 10,000,000, but profile embedded has 27,000"),
    (f"run images_none.py {HERE}", "images"),
    (f"run gradients_beyond.py {HERE}", "100 per-sample gradients need as many calibration images, not 64"),
    (f"run raises.py {HERE}", "ZeroDivisionError: no"),
    (f"run no_class.py {HERE}", "has no pruner class 'Nothing'; it has Raises"),
    (f"run no_python.py {HERE}", "SyntaxError"),
    (f"run tune_unknown.py {HERE}", "finetune_at"),
    ("plan table1 --seeds", "--seeds requires at least 1 element"),
    ("plan tabel1", "unknown sweep 'tabel1'"),
    ("plan table1 --hardware abacus", "--hardware abacus is not known: choose from cpu"),
    ("plan table1 --profile laptop", "no profile 'laptop'"),
    (f"latency {HERE} --layers fc", "--layers and --transform are of a model of your own: timm:NAME, or my_model.py"),
    (f"compare --pruner magnitude --against random {HERE} --batch-norm reestimated", "no batch normalisation in "),
    (f"table table1 {HERE}", "does not exist: run the sweep first"),
    (f"table tabel1 {HERE}", "unknown sweep 'tabel1'"),
    (f"table good.py {HERE}", "does not exist: run the sweep first with capbench run good.py"),
    (f"table table1 --profile laptop {HERE}", "laptop"),
    (f"plot table1 {HERE}", "does not exist: run the sweep first"),
    (f"plot tabel1 {HERE}", "choose from ablation"),
    (f"status tabel1 {HERE}", "unknown sweep 'tabel1'"),
    (f"status table1 {HERE} --only model=resnet", "choose from convnext, vit, xcit"),
    (f"cancel tabel1 {HERE}", "unknown sweep 'tabel1'"),
    (f"collect tabel1 {HERE}", "unknown sweep 'tabel1'"),
    (f"collect table1 {HERE}", "no trial of table1 (embedded) has run yet"),
    ("compare", "--pruner"),
    (f"compare {HERE} --pruner obs", "unknown pruner 'obs': choose from"),
    (f"compare {HERE} --pruner none.py:Mine", "pruner file none.py does not exist"),
    (f"compare {HERE} --pruner syntax.py:Mine", "SyntaxError"),
    (f"compare {HERE} --pruner exits.py:Mine", "SystemExit: 3"),
    (f"compare {HERE} --pruner broken.py:Nothing", "has no pruner class 'Nothing'; it has Raises"),
    (f"compare {HERE} --pruner broken.py:Raises", "ZeroDivisionError: no"),
    (f"compare {HERE} --pruner more.py:More", "needed has no default: give it with --option needed=VALUE"),
    (f"compare {HERE} --pruner cap --option damp", "cannot read option 'damp': write key=value"),
    (f"compare {HERE} --pruner cap --option damp=1 damp=2", "option damp is given twice"),
    (f"compare {HERE} --pruner cap --option colour=1", "pruner 'cap' has no option colour: its options are"),
    (f"compare {HERE} --pruner cap --option damp=-1", "damp"),
    (f"compare {HERE} --pruner cap --option block_size=x", "block_size"),
    (f"compare {HERE} --pruner magnitude --against magnitude", "magnitude stands twice with the same options"),
    (f"compare {HERE} --pruner mfac --against", "--against requires at least 1 element"),
    (f"compare {HERE} --pruner mfac --against obs", "unknown pruner 'obs'"),
    (f"compare {HERE} --pruner mfac --against cap cap", "cap twice"),
    (f"compare {HERE} --pruner mfac --model", "--model requires at least 1 element"),
    (f"compare {HERE} --pruner mfac --model resnet", "unknown model 'resnet'"),
    (f"compare {HERE} --pruner mfac --sparsity 1", "1"),
    (f"compare {HERE} --pruner mfac --sparsity -0.5", "-0.5"),
    (f"compare {HERE} --pruner mfac --sparsity 75%", "75%"),
    (f"compare {HERE} --pruner mfac --sparsity 0.5 0.50", "0.5 twice"),
    (f"compare {HERE} --pruner mfac --sparsity 4:2", "4:2"),
    (f"compare {HERE} --pruner magnitude --against wanda --sparsity 5:7", "--sparsity 5:7 does not fit model"),
    (f"compare {HERE} --pruner wanda", "supports no pattern of --sparsity"),
    (f"compare {HERE} --pruner magnitude --against wanda", "no pruner of --against supports"),
    (f"compare {HERE} --pruner mfac --seeds 0 0", "--seeds has 0 twice"),
    (f"compare {HERE} --pruner mfac --seeds -1", "--seeds -1 is not valid: a seed is at least 0"),
    (f"compare {HERE} --pruner mfac --seeds {10**23}", "seed: Input should be less than or equal to 92233"),
    (f"compare {HERE} --pruner mfac --jobs 0", "--jobs 0"),
    (f"compare {HERE} --pruner mfac --dry-run --device cuda:77", "--device cuda:77 cannot be used"),
    (f"compare {HERE} --pruner mfac --profile laptop", "unknown profile 'laptop': choose from embedded, imagenet"),
    ("check obs", "unknown pruner 'obs': choose from"),
    ("check none.py:Mine", "pruner file none.py does not exist"),
    ("check syntax.py:Mine", "SyntaxError"),
    ("check exits.py:Mine", "SystemExit: 3"),
    ("check cap --option colour=1", "pruner 'cap' has no option colour: its options are"),
    ("check cap --option damp", "cannot read option 'damp': write key=value"),
    ("export", "give either a checkpoint or --model"),
    ("export none.safetensors", "none.safetensors does not exist"),
    ("export words.txt --finetune", "--finetune belongs to --model: a checkpoint is exported as it is"),
    ("export --model resnet", "unknown model 'resnet'"),
    ("export --model vit --pruner obs", "unknown pruner 'obs'"),
    ("export --model vit --option colour=1", "pruner 'cap' has no option colour"),
    ("export --model vit --sparsity half", "half"),
    ("export --model vit --seed -1", "seed"),
    ("export --model vit --format jpeg", "--format"),
    ("export --model vit --int8 --format safetensors", "holds single precision alone"),
    ("export --model vit --output words.txt", "is a file: --output words.txt must be a folder, or not be there yet"),
    ("export --model vit --sparsity 0.9999999", "model vit at 0.9999999: of its 196,608 weights to prune none is left"),
    ("export --model vit --sparsity 5:7 --pruner magnitude", "model vit skips 5:7"),
    ("export --model vit --device cuda:77", "--device cuda:77 cannot be used"),
    (f"latency {HERE} --model resnet", "unknown model 'resnet'"),
    (f"latency {HERE} --sparsity 1", "--sparsity 1.0 is not valid: give numbers above 0 and below 1"),
    (f"latency {HERE} --batch 0", "batch"),
    (f"latency {HERE} --threads 4096", "--threads 4096 is more than the"),
    (f"latency {HERE} --engines abacus", "unknown engine 'abacus': choose from eager"),
    (f"latency {HERE} --memory 3", "--memory 3 is none of --batch 1 16 64"),
    (f"latency {HERE} --seconds 0", "seconds"),
    (f"speedup {HERE}", "does not exist: measure with capbench latency --name speedup"),
    ("benchmarks none.json", "none.json"),
    ("benchmarks words.txt", "words.txt is no output of `nox -s benchmark`"),
    ("show", "--id requires an argument"),
    ("show zzz", "'zzz' is no id of a trial"),
    (f"show 0123456789abcdef {HERE}", "0123456789abcdef"),
    ("rerun zzz", "'zzz' is no id of a trial"),
    (f"publish tabel1 {HERE}", "cannot publish 'tabel1', which is not of this checkout: choose from ablation"),
    (f"publish good.py {HERE}", "cannot publish 'good.py'"),
    (f"publish table1 {HERE}", " trials are not done ("),
    (f"publish table1 --profile laptop {HERE}", "laptop"),
    (f"publish speedup {HERE}", "has no measurements: make some with capbench latency --name speedup"),
    (f"publish benchmarks {HERE}", "benchmarks/core.json is no output"),
    (f"run table1 --results {ROOT}/results", "has the published results, which `capbench publish` alone changes"),
    (f"latency --results {ROOT}/results", "has the published results, which `capbench publish` alone changes"),
    (f"compare {HERE} --pruner magnitude --against wanda --json no/out.json", "no/out.json"),
    ("list", "--what requires an argument"),
    ("list cats", "pruners"),
    ("tabel table1", "tabel"),
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Folder with the users' files."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(("command", "message"), CASES, ids=[command for command, _ in CASES])
def test_one_line(
    command: str, message: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit) as stopped:
        cli.main(shlex.split(command))
    error = capsys.readouterr().err
    assert stopped.value.code == 2
    assert message in error
    assert error.count("\n") == 1, error
    assert "Traceback" not in error
    written = [path for path in folder.rglob("*") if path.is_file() and path.name not in FILES]
    assert not [path for path in written if "__pycache__" not in path.parts and path.name != "lock"]
