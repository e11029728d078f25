"""Files of weights that Python packages bring."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from bench import assets
from bench.core.config import Spec
from bench.core.errors import UserError
from bench.core.packages import require

EXTRA = "pretrained"  # of this project, which brings the packages


class PackageFile(Spec):
    """File of an installed package, told from others by its checksum.

    Attributes:
        package: Name that the package is imported by; it is not imported.
        file: Path of the file in the package.
        sha256: Checksum of the file.
    """

    package: str
    file: str
    sha256: str

    def path(self) -> Path:
        """Returns the path of the file.

        Raises:
            UserError: If the package is not installed, or is a version without this very file.
        """
        require([self.package], EXTRA, f"the weights {Path(self.file).name}")
        found = importlib.util.find_spec(self.package)
        places = found.submodule_search_locations if found is not None else None
        for place in places or ():
            path = Path(place) / self.file
            if path.is_file():
                if assets.current_sha256(path) != self.sha256:
                    raise UserError(f"{path} is another file than the one that was tested: {self._advice()}")
                return path
        raise UserError(f"the package {self.package} has no {self.file}: {self._advice()}")

    def _advice(self) -> str:
        return f"install the version in constraints.txt, pip install -c constraints.txt -e '.[{EXTRA}]'"
