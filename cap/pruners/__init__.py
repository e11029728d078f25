"""The pruners, one a file. Importing this package registers them."""

from cap.pruners import correlation_aware, magnitude, woodfisher

__all__ = ["correlation_aware", "magnitude", "woodfisher"]
