"""Data and weights that live in the repository, and their checksums."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from bench.core.errors import UserError
from bench.core.files import atomic_write, sha256

ASSETS = Path(__file__).parent
CHECKSUMS = ASSETS / "SHA256SUMS"
DATA_FILES = tuple(f"fashion_mnist/{split}-00000-of-00001.parquet" for split in ("train", "test"))
AGAIN = "restore it with git, or install the wheel again"
VALIDATION_FILE = "fashion_mnist/validation-00000-of-00001.parquet"  # read by trials that are evaluated on it alone


def current_sha256(path: Path) -> str:
    """Returns the SHA-256 of a user's file; one whose size and time have not changed is not read again.

    Raises:
        UserError: If there is no such file.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    return _sha256_of(path.absolute(), found.st_size, found.st_mtime_ns)


@cache
def _sha256_of(path: Path, size: int, changed: int) -> str:
    return sha256(path)


def write_checksums() -> None:
    """Writes the checksums of all data and weight files and of the models' cards, in the format of `sha256sum`."""
    files = sorted(p for pattern in ("*/*.parquet", "*/*.safetensors", "zoo/*.json") for p in ASSETS.glob(pattern))
    with atomic_write(CHECKSUMS) as temporary:
        temporary.write_text("".join(f"{sha256(p)}  {p.relative_to(ASSETS)}\n" for p in files))


def checksums() -> dict[str, str]:
    """Returns the recorded SHA-256 of every data and weight file, by its path below `bench/assets`.

    Raises:
        UserError: If the record is missing.
    """
    if not CHECKSUMS.is_file():
        raise UserError(f"{CHECKSUMS} is missing: {AGAIN}")
    return {line.split()[1]: line.split()[0] for line in CHECKSUMS.read_text().splitlines()}


@cache
def verified(name: str) -> Path:
    """Returns the path of an embedded file after comparing its SHA-256 with the recorded one.

    Args:
        name: Path of the file below `bench/assets`, such as `zoo/vit.safetensors`.

    Raises:
        UserError: If the file is missing, unknown or damaged.
    """
    path = ASSETS / name
    recorded = checksums()
    if not path.is_file():
        raise UserError(f"{path} is missing: {AGAIN}")
    if name not in recorded:
        raise UserError(f"{path} has no checksum in {CHECKSUMS}: known files are {', '.join(sorted(recorded))}")
    if sha256(path) != recorded[name]:
        raise UserError(f"{path} is damaged: its SHA-256 differs from the one in {CHECKSUMS}; {AGAIN}")
    return path
