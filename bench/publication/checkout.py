"""Git checkout, and whether its code is the one that made results."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.core.errors import UserError

CODE = ("bench", "cap", "sweeps")  # on what is in these, results depend


@dataclass(frozen=True)
class Checkout:
    """Git checkout of this project.

    Attributes:
        root: Its top folder.
        code: Folders in it that results depend on.
    """

    root: Path
    code: Sequence[str] = CODE

    def check(self, commits: Iterable[str | None], dirty: Iterable[bool | None], again: str) -> str:
        """Makes sure that results were made by the code of this checkout, as committed.

        Args:
            commits: Commits of the results.
            dirty: Whether the code differed from them.
            again: What the user is told to do where results have to be made anew.

        Returns:
            The commit.

        Raises:
            UserError: If the checkout's code differs from its commit, or the results are of several commits, of code
                that was not committed, or of other code than the checkout's.
        """
        head = self._git("rev-parse", "HEAD")
        if head is None:
            raise UserError(f"{self.root} is no git checkout: results are published in one")
        if changed := (self._git("status", "--porcelain", "--", *self.code) or "").splitlines():
            raise UserError(f"the checkout is not clean ({_some(changed)}): commit or undo that, and {again}")
        found = sorted({str(commit or "unknown") for commit in commits})
        if len(found) > 1:
            raise UserError(f"rows of {len(found)} commits ({', '.join(name[:12] for name in found)}): {again}")
        if any(dirty) or found == ["unknown"]:
            raise UserError(f"rows of code that was not committed: {again}")
        self._check_same_code(found[0], head, again)
        return found[0]

    def _check_same_code(self, commit: str, head: str, again: str) -> None:
        """Refuses a commit that is neither the checkout's nor one before it with the same code."""
        if commit == head:
            return
        if self._git("merge-base", "--is-ancestor", commit, head) is None:
            raise UserError(f"rows of commit {commit[:12]}, on which the checkout's {head[:12]} is not based: {again}")
        if changed := (self._git("diff", "--name-only", commit, head, "--", *self.code) or "").splitlines():
            raise UserError(f"rows of commit {commit[:12]}, since when code changed ({_some(changed)}): {again}")

    def _git(self, *arguments: str) -> str | None:
        """Returns a command's output, None where it fails or there is no git."""
        try:
            done = subprocess.run(["git", *arguments], cwd=self.root, capture_output=True, text=True, check=True)
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.rstrip()


def _some(lines: Sequence[str]) -> str:
    """Returns the first of some files, and how many more there are."""
    more = f" and {len(lines) - 1} more" if len(lines) > 1 else ""
    return f"{lines[0].split()[-1]}{more}"
