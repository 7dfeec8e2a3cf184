"""Examples as a torch data set that knows its epoch."""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from preprocessors.collator import encode_together
from preprocessors.examples import CaptionExample
from preprocessors.interface import CaptionPreprocessor, EncodedExample
from preprocessors.pictures.feature_cache import FeatureCache
from preprocessors.pictures.row_cache import View
from preprocessors.text.masking import MaskedSource


class CaptionDataset(Dataset[EncodedExample]):
    """Encodes examples on demand.

    Args:
        examples: Examples of one split.
        preprocessor: Makes the model inputs.
        training: Whether captions take turns, and crops, style dropout and masks are drawn.
        masking: In training, gives each example a text of the masked-LM task as well; None gives none.
        features: Of the vision network, to be used in place of pixels, in training one of a picture's views; None opens
            the pictures.
        captions_per_row: In training, most captions of an example that it brings at once; its masked text stays one.
    """

    def __init__(
        self,
        examples: Sequence[CaptionExample],
        preprocessor: CaptionPreprocessor,
        training: bool,
        masking: MaskedSource | None = None,
        features: FeatureCache | None = None,
        captions_per_row: int = 1,
    ) -> None:
        self.examples = examples
        self.preprocessor = preprocessor
        self.training = training
        self.masking = masking
        self.features = features
        self.captions_per_row = captions_per_row
        # Shared memory: workers that outlive an epoch have their own copy of the data set and would not see an int.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch (from 0) that the next examples are drawn for, in worker processes as well."""
        self._epoch.fill_(epoch)

    @property
    def epoch(self) -> int:
        """The epoch that examples are drawn for."""
        return int(self._epoch.item())

    def captions_of(self, epoch: int, row: int) -> list[str]:
        """The captions that a row trains on in an epoch: as many as :attr:`captions_per_row`, or all that it has.

        They are those whose turn would come one by one in so many epochs, so that every caption of a row is trained on
        once before any is for the second time.
        """
        example = self.examples[row]
        count = min(self.captions_per_row, len(example.captions))
        turns = range(epoch * count, (epoch + 1) * count)
        return [self.preprocessor.caption_of(example, epoch=turn, row=row) for turn in turns]

    def caption_length(self, epoch: int, row: int) -> int:
        """Tokens of the longest caption that a row trains on in an epoch, EOS counted."""
        return max(self._caption_lengths(epoch, row))

    def caption_tokens(self, epoch: int, row: int) -> int:
        """Tokens of all captions that a row trains on in an epoch, EOS counted."""
        return sum(self._caption_lengths(epoch, row))

    def _caption_lengths(self, epoch: int, row: int) -> list[int]:
        return [len(self.preprocessor.target_ids(caption)) for caption in self.captions_of(epoch, row)]

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.examples)

    def __getitem__(self, row: int) -> EncodedExample:
        """Encode the example in that row.

        Raises:
            FileNotFoundError: If its picture is missing.
            ValueError: If its picture cannot be read; names the file and the annotation row.
        """
        (encoded,) = self.__getitems__([row])
        return encoded

    def __getitems__(self, rows: Sequence[int]) -> list[EncodedExample]:
        """Encode the examples of a batch, as torch's loader asks for them; see :func:`encode_together`."""
        epoch = self.epoch
        numbered = [(row, self.examples[row]) for row in rows]
        batch = encode_together(
            self.preprocessor, numbered, epoch=epoch, training=self.training, features=self._features_of(rows)
        )
        if self.training and self.captions_per_row > 1:
            for encoded in batch:
                captions = self.captions_of(epoch, encoded["row"])
                encoded["caption_labels"] = [self.preprocessor.target_ids(caption) for caption in captions]
        if self.training and self.masking is not None:
            for encoded in batch:
                self._add_masked(encoded, self.masking, epoch)
        return batch

    def _features_of(self, rows: Sequence[int]) -> list[Tensor] | None:
        if self.features is None:
            return None
        views = self.features.views
        return self.features.shared([View(self.examples[row].image_path, self._view_of(row, views)) for row in rows])

    def _view_of(self, row: int, views: int) -> int:
        if not self.training:
            return 0
        return random.Random(f"{self.preprocessor.seed}/view/{self.epoch}/{row}").randrange(views)

    def _add_masked(self, encoded: EncodedExample, masking: MaskedSource, epoch: int) -> None:
        row, example = encoded["row"], self.examples[encoded["row"]]
        generator = random.Random(f"{self.preprocessor.seed}/masked/{epoch}/{row}")
        caption = self.preprocessor.caption_of(example, epoch=epoch, row=row)
        # The example's own style, whatever style dropout made of it: without a picture, the neutral name over half a
        # caption full of the style's words would teach that neutral means that style. Where the style is to be guessed
        # from the words, the masker hides its name.
        text, encoded["masked_ids"] = masking.draw(caption, example.style, len(self), generator)
        encoded["masked_labels"] = self.preprocessor.target_ids(text)
