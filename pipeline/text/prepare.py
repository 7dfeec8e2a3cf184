"""Everything that a text run is made of, built once before the run folder is made."""

from __future__ import annotations

from dataclasses import dataclass

from configuration.groups import RunConfig
from models.style_lm import StyleLM
from pipeline.documents import encode_split, open_vocabulary
from pipeline.vocabulary import Vocabulary
from preprocessors.documents.packing import Packer
from preprocessors.documents.token_bins import TokenBins
from preprocessors.readers import SplitName
from runs.folder import Run
from runs.leaderboard import check_leaderboard
from utils.hub import resolve_model_folder

DEFAULT_POSITIONS = 256
"""Of a new model."""


@dataclass(frozen=True)
class TextData:
    """Encoded documents of a run.

    Attributes:
        train: To learn from.
        val: To validate on; those to learn from if there are no others.
        eval: To evaluate on.
        val_is_train: There are no others.
    """

    train: TokenBins
    val: TokenBins
    eval: TokenBins
    val_is_train: bool

    def all(self) -> list[TokenBins]:
        """Each once."""
        return [*{id(bins): bins for bins in (self.train, self.val, self.eval)}.values()]


@dataclass(frozen=True)
class PreparedText:
    """A text run before its first step.

    Attributes:
        config: What it is made from, with what was left to the model resolved.
        lm: The model.
        data: Documents.
        run: The folder.
    """

    config: RunConfig
    lm: StyleLM
    data: TextData
    run: Run

    def packer(self, bins: TokenBins, *, training: bool = False) -> Packer:
        """Packs documents into rows of as many tokens as the run has positions."""
        documents, tokenizer = self.config.documents, self.lm.tokenizer
        return Packer(
            bins,
            self.config.lm.positions or DEFAULT_POSITIONS,
            bos=tokenizer.bos_id,
            eos=tokenizer.eos_id,
            overlap=documents.overlap,
            ignore_meta=documents.ignore_meta_prob if training else 0.0,
            linked=documents.links,
            link_tokens=documents.link_tokens,
            seed=self.config.train.seed,
        )


def prepare_text(config: RunConfig) -> PreparedText:
    """Encode the documents, where that was not done before, and make or open the model.

    Whatever can be wrong with configuration, documents or model is found here.

    Raises:
        ValueError: If something cannot be used.
        FileNotFoundError: If something is missing.
    """
    check_leaderboard(config.eval.leaderboard)
    vocabulary = open_vocabulary(config)
    if config.model.name is None:
        positions = config.lm.positions or DEFAULT_POSITIONS
        lm = StyleLM.new(
            vocabulary.tokenizer,
            vocabulary.registry,
            size=config.model.preset or "",
            positions=positions,
            dropout=config.lm.dropout,
            seed=config.train.seed,
        )
    else:
        lm = StyleLM.load_from_dir(resolve_model_folder(config.model.name, config.model.revision))
        positions = config.lm.positions or lm.positions or DEFAULT_POSITIONS
    if lm.positions is not None and positions > lm.positions:
        raise ValueError(
            f"lm.positions={positions}: {config.model.name} has positions for {lm.positions}; lower it, or train a new "
            "model with model.preset"
        )
    config = config.model_copy(update={"lm": config.lm.model_copy(update={"positions": positions})})
    prepared = PreparedText(config, lm, read_documents(config, vocabulary), Run(config.work_dir))
    for bins in prepared.data.all():
        prepared.packer(bins)  # refuses a context that is too short, or links that are not there
    return prepared


def read_documents(config: RunConfig, vocabulary: Vocabulary) -> TextData:
    """The documents of a run, encoded now or before.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If documents cannot be used, or there are none to evaluate on, as was asked for.
    """
    train, val = _encoded(config, "train", vocabulary), _encoded(config, "val", vocabulary)
    assert train is not None  # the configuration requires them
    if config.eval.split == "val":
        return TextData(train, val or train, val or train, val is None)
    test = _encoded(config, "test", vocabulary)
    if test is None:
        raise ValueError("eval.split=test: there are no such documents; name them with documents.test, or use val")
    return TextData(train, val or train, test, val is None)


def _encoded(config: RunConfig, split: SplitName, vocabulary: Vocabulary) -> TokenBins | None:
    found = encode_split(config, split, vocabulary)
    return None if found is None else found.bins
