"""Examples as a torch data set that knows its epoch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.utils.data import Dataset

from preprocessors.examples import CaptionExample
from preprocessors.ofa import EncodedExample, OFAStylePreprocessor


class CaptionDataset(Dataset[EncodedExample]):
    """Encodes examples on demand.

    Args:
        examples: Examples of one split.
        preprocessor: Makes the model inputs.
        training: Whether captions take turns and crops and style dropout are drawn.
    """

    def __init__(self, examples: Sequence[CaptionExample], preprocessor: OFAStylePreprocessor, training: bool) -> None:
        self.examples = list(examples)
        self.preprocessor = preprocessor
        self.training = training
        # Shared memory: workers that outlive an epoch have their own copy of the data set and would not see an int.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch (from 0) that the next examples are drawn for, in worker processes as well."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.examples)

    def __getitem__(self, row: int) -> EncodedExample:
        """Encode the example in that row.

        Raises:
            FileNotFoundError: If its picture is missing.
            ValueError: If its picture cannot be read; names the file and the annotation row.
        """
        epoch = int(self._epoch.item())
        return self.preprocessor.encode(self.examples[row], epoch=epoch, row=row, training=self.training)
