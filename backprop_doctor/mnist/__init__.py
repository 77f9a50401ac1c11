"""The MNIST database of handwritten digits, packaged: four gzip files in IDX format.

Authors: Y. LeCun, C. Cortes, C. Burges.  Licence: Creative Commons Attribution-Share Alike 3.0
(``LICENSE.md`` beside the data).  Files are read on demand and only as far as needed.
"""

from __future__ import annotations

import gzip
import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["CHECKSUMS", "SIZES", "checksum", "load"]

Split = Literal["train", "test"]

SIZES: dict[str, int] = {"train": 60_000, "test": 10_000}

# MD5 of the uncompressed files, as published by the authors.
CHECKSUMS = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}

_FOLDER = Path(__file__).parent
_PREFIX = {"train": "train", "test": "t10k"}


@lru_cache(maxsize=8)
def load(split: Split, count: int | None = None) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Read the first images of one set and their labels.

    Parameters
    ----------
    split : {"train", "test"}
        The 60,000 training images or the 10,000 test images.
    count : int, optional
        How many to read; all by default.  Only so much of the files is decompressed.

    Returns
    -------
    images : ndarray of uint8, shape (N, 28, 28)
        Grey values 0 (paper) to 255 (ink).  Read-only.
    labels : ndarray of uint8, shape (N,)
        Digits 0 to 9.  Read-only.
    """
    n = SIZES[split] if count is None else min(count, SIZES[split])
    prefix = _PREFIX[split]
    images = np.frombuffer(_read(f"{prefix}-images-idx3-ubyte", 16 + 784 * n), np.uint8, offset=16)
    labels = np.frombuffer(_read(f"{prefix}-labels-idx1-ubyte", 8 + n), np.uint8, offset=8)
    return images.reshape(n, 28, 28), labels


def checksum(name: str) -> str:
    """MD5 of one of the uncompressed files."""
    return hashlib.md5(_read(name, -1), usedforsecurity=False).hexdigest()


def _read(name: str, size: int) -> bytes:
    with gzip.open(_FOLDER / f"{name}.gz") as stream:
        return stream.read(size)
