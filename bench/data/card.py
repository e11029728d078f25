"""Card of a data set: what tells its images and labels from those of another place."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class DataCard:
    """Sizes of a data set's splits, and a checksum of the names and labels of its images.

    Attributes:
        train: Number of training images.
        test: Number of test images.
        checksum: First 16 digits of the SHA-256 of the names and labels of all images, in order.
        whole: Whether it is the data set as published, by the number of images of each split and test class.
    """

    train: int
    test: int
    checksum: str
    whole: bool

    def identity(self, name: str) -> str:
        """Returns what stands for the data in a trial's identity.

        Args:
            name: Name of the data set, which alone stands for all of it: so identities are the same where its files
                cannot be seen.
        """
        return name if self.whole else f"{name} {self.train}+{self.test} {self.checksum}"
