"""OFA on current transformers."""

from models.ofa.configuration_ofa import PRESETS, OFAConfig
from models.ofa.folder import load_ofa, load_weights, save_ofa, write_configuration
from models.ofa.modeling_ofa import OFAForConditionalGeneration
from models.ofa.tokenization_ofa import OFATokenizer

__all__ = [
    "PRESETS",
    "OFAConfig",
    "OFAForConditionalGeneration",
    "OFATokenizer",
    "load_ofa",
    "load_weights",
    "save_ofa",
    "write_configuration",
]
