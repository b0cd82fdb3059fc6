"""Many strings in one buffer, put together without a loop over them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gilscope.tables.arrays import strings

Int = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(slots=True)
class Texts:
    """Strings in UTF-8 that hold no zeros, each of them followed by one in the buffer."""

    data: npt.NDArray[np.uint8]
    first: Int
    size: Int

    @staticmethod
    def of_words(words: npt.NDArray[np.uint32], count: Int) -> tuple[Texts, Mask]:
        """Put strings together; what follows the first zero of each is not part of it.

        Args:
            words: four bytes each, those of one string behind those of another.
            count: how many of them each string has.

        Returns:
            The strings, and whether each was ended by a zero of its own.
        """
        # A word of zeros behind each: so each ends somewhere.
        until = np.cumsum(count + 1)
        padded = np.zeros(int(count.sum()) + len(count), "<u4")
        given = np.ones(len(padded), np.bool_)
        given[until - 1] = False
        padded[given] = words
        data = padded.view(np.uint8)
        first = (until - count - 1) * 4
        zeros = np.flatnonzero(data == 0)
        end = zeros[np.searchsorted(zeros, first)]
        return Texts(data, first, end - first), end < (until - 1) * 4

    def __len__(self) -> int:
        return len(self.first)

    def __getitem__(self, which: Int) -> Texts:
        """Return some of them, in a buffer that holds nothing else."""
        size = self.size[which]
        first = np.cumsum(size + 1) - size - 1
        at = np.arange(int(size.sum()) + len(size))
        return Texts(self.data[at + np.repeat(self.first[which] - first, size + 1)], first, size)

    def then(self, others: Texts) -> Texts:
        """Return these, and others behind them."""
        return Texts(
            np.concatenate((self.data, others.data)),
            np.concatenate((self.first, others.first + len(self.data))),
            np.concatenate((self.size, others.size)),
        )

    def column(self) -> pa.Array:
        """Return them as an Arrow array; bytes that are no UTF-8 are replaced."""
        data = self[np.arange(len(self))].data
        try:
            data.tobytes().decode()
        except UnicodeDecodeError:
            return strings([text.decode("utf-8", "replace") for text in data.tobytes().split(b"\0")[:-1]])
        offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum(self.size))).astype(np.int32)
        return pa.StringArray.from_buffers(len(self), pa.py_buffer(offsets), pa.py_buffer(data[data != 0]))


NO_TEXTS = Texts(np.zeros(0, np.uint8), np.zeros(0, np.int64), np.zeros(0, np.int64))
