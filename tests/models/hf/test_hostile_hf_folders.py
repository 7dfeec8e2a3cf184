"""Folders of transformers' captioners that somebody made to do harm, as in ``tests/models/test_hostile_folders.py``."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.hf_folders import FAMILIES
from tests.models.test_hostile_folders import BYTES, REPOSITORY, SECONDS, Payload, _half, _large, _set, _write, fault_of

NUMBERS = {
    "blip": {
        ("text_config", "vocab_size"): [10**9, 0, "x", 999_999],
        ("text_config", "hidden_size"): [10**7, -8, 64, 16_384, None],
        ("text_config", "num_hidden_layers"): [10**6, 0, True, 100],
        ("text_config", "num_attention_heads"): [7, 0],
        ("text_config", "max_position_embeddings"): [10**6, 8192],
        ("text_config", "hidden_act"): ["os.system", 3],
        ("text_config", "bos_token_id"): [10**9, -1, 999_999],
        ("text_config", "sep_token_id"): [4, None],
        ("text_config", "is_decoder"): [False],
        ("text_config", "layer_norm_eps"): [0, 1e300],
        ("vision_config", "image_size"): [10**6, 4096, [32, 64], 40],
        ("vision_config", "patch_size"): [1, 0, 32],
        ("vision_config", "hidden_size"): [16_384],
        ("vision_config", "num_hidden_layers"): [100],
    },
    "florence2": {
        ("text_config", "model_type"): ["evil", None, "t5"],
        ("text_config", "d_model"): [10**7, 64, 16_384],
        ("text_config", "vocab_size"): [10**9, 999_999],
        ("text_config", "encoder_layers"): [10**6, 100],
        ("text_config", "max_position_embeddings"): [10**6, 8192],
        ("text_config", "decoder_start_token_id"): [999_999],
        ("vision_config", "depths"): [[10**6, 1], [1], "x", [1, 1, 1]],
        ("vision_config", "embed_dim"): [[10**9, 20], [12], [16_384, 16_384]],
        ("vision_config", "window_size"): [10**6, 0],
        ("vision_config", "max_temporal_embeddings"): [10**9, 1024],
        ("vision_config", "max_position_embeddings"): [10**6, 128],
        ("vision_config", "patch_stride"): [[0, 0], [10**6, 2]],
        ("vision_config", "mlp_ratio"): [1e300, 16],
        ("vision_config", "activation_function"): ["eval"],
    },
    "smolvlm": {
        ("text_config", "model_type"): ["evil", "mistral", None],
        ("text_config", "hidden_size"): [10**7, 64, 16_384, 25],
        ("text_config", "vocab_size"): [10**9, 999_999],
        ("text_config", "num_hidden_layers"): [10**6, 100],
        ("text_config", "num_key_value_heads"): [0, 10**6],
        ("text_config", "head_dim"): [10**9],
        ("text_config", "rope_parameters"): [{"rope_type": "evil"}, {"rope_theta": 0}, "x"],
        ("text_config", "max_position_embeddings"): [10**12],
        ("text_config", "bos_token_id"): [2, 999_999],
        ("vision_config", "image_size"): [10**6, 4096, 40],
        ("vision_config", "patch_size"): [1, 0, 16],
        ("scale_factor",): [0, 3, 10**6],
        ("image_token_id",): [-1, 10**9],
    },
    "paligemma": {
        ("text_config", "model_type"): ["evil", "llama", None, "gemma2"],
        ("text_config", "hidden_size"): [10**7, 64, 16_384],
        ("text_config", "vocab_size"): [10**9, 999_999],
        ("text_config", "num_hidden_layers"): [10**6, 100],
        ("text_config", "num_attention_heads"): [0, 7],
        ("text_config", "num_key_value_heads"): [0, 10**6, None],
        ("text_config", "head_dim"): [10**9, 0],
        ("text_config", "rope_parameters"): [{"rope_type": "evil"}, {"rope_theta": 0}, "x"],
        ("text_config", "max_position_embeddings"): [10**12, 1],
        ("text_config", "hidden_act"): ["os.system"],
        ("text_config", "eos_token_id"): [2, 999_999, [1, 2]],
        ("vision_config", "model_type"): ["evil", "clip_vision_model"],
        ("vision_config", "image_size"): [10**6, 4096, 40],
        ("vision_config", "patch_size"): [1, 0, 16],
        ("projection_dim",): [0, 16_384, 25],
        ("image_token_index",): [-1, 10**9],
    },
}
STRANGE: dict[str, Callable[[Path], None]] = {
    "no configuration of text": _set("config.json", "text_config")(None),
    "text as a configuration": _set("config.json", "vision_config")("https://example.org/config.json"),
    "quantised": _set("config.json", "quantization_config")({"quant_method": "evil"}),
    "another class": _set("config.json", "architectures")(["Evil"]),
    "classes of numbers": _set("config.json", "architectures")([3]),
    "classes of text": _set("config.json", "architectures")("Evil"),
    "mean of text": _set("preprocessor_config.json", "image_mean")(["a", "b", "c"]),
    "deviation of zero": _set("preprocessor_config.json", "image_std")([0, 0, 0]),
    "deviation of two": _set("preprocessor_config.json", "image_std")([1, 1]),
    "scaled pixels": _set("preprocessor_config.json", "rescale_factor")(2),
    "scaled by text": _set("preprocessor_config.json", "rescale_factor")("x"),
    "list as a processor": _write("preprocessor_config.json", "[1]"),
    "200 MB of tokenizer": _large("tokenizer.json"),
    "half a tokenizer": _half("tokenizer.json"),
    "tokenizer of another kind": _set("tokenizer.json", "model")({"type": "Unigram", "vocab": []}),
    "tokenizer of nothing": _set("tokenizer.json", "model")(None),
    "vocabulary of a list": _set("tokenizer.json", "model", "vocab")([1, 2]),
    "vocabulary with a gap": _set("tokenizer.json", "model", "vocab", "zebra")(10**7),
    "style tokens of numbers": _set("tokenizer_config.json", "style_tokens")([5]),
    "more style tokens than entries": _set("tokenizer_config.json", "style_tokens")(["<style_0>"] * 2000),
    "half of the weights": _half("model.safetensors"),
    "code as weights": lambda folder: (
        (folder / "model.safetensors").unlink(),
        torch.save({"x": Payload(folder.parent / "executed")}, folder / "pytorch_model.bin"),
    )[0],
}
BYTE_PAIRS: dict[str, Callable[[Path], None]] = {
    "merges of another model": _set("tokenizer.json", "model", "merges")(["foo bar"]),
    "merges of numbers": _set("tokenizer.json", "model", "merges")([[1, 2]]),
    "merges of one piece": _set("tokenizer.json", "model", "merges")(["a"]),
    "no merges": _set("tokenizer.json", "model", "merges")(None),
    "special entries of numbers": _set("tokenizer.json", "added_tokens")([5]),
    "special entries with a gap": _set("tokenizer.json", "added_tokens")([{"id": 10**7, "content": "<x>"}]),
    "a special entry of another type": _set("tokenizer.json", "added_tokens")([{"id": "0", "content": ["<x>"]}]),
}


def _twice(folder: Path) -> None:
    """The last special entry once more under the next number, which the library would give to the first style."""
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    last = max(content["added_tokens"], key=lambda entry: entry["id"])
    content["added_tokens"].append(last | {"id": last["id"] + 1})
    path.write_text(json.dumps(content))


BYTE_PAIRS["a special entry under two numbers"] = _twice
SLOWLY = [pytest.param(family, marks=pytest.mark.slow) for family in FAMILIES if family != "blip"]
SIZES = {"blip": ("image_size", 40), "florence2": ("max_position_embeddings", 12), "smolvlm": ("image_size", 48)}
SIZES["paligemma"] = ("hidden_size", 24)


def _cases(family: str) -> dict[str, Callable[[Path], None]]:
    numbers = {
        f"{'.'.join(keys)}={str(value)[:30]}": _set("config.json", *keys)(value)
        for keys, values in NUMBERS[family].items()
        for value in values
    }
    return numbers | STRANGE | ({} if family == "blip" else BYTE_PAIRS)


def make_folder(family: str, place: Path) -> Path:
    """A folder that opens, without a manifest, as somebody else's."""
    from preprocessors.text.styles import StyleRegistry

    FAMILIES[family].write(place)
    StyleRegistry(["pirate"]).save_to_dir(place)
    return place


def run_all(family: str, folder: str) -> None:
    """Writes what each case ended with, and the most memory that the process had by then, in bytes."""
    assert fault_of(Path(folder), lambda copy: None)[0] == "OPENED"  # and the libraries are imported
    ends = {case: fault_of(Path(folder), edit) for case, edit in _cases(family).items()}
    status = Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024
    sys.stdout.write(json.dumps({"ends": ends, "peak": peak}))


@pytest.mark.parametrize("family", ["blip", *SLOWLY])
def test_hostile_folders_are_refused_in_one_message_at_once_and_run_nothing(family, tmp_path):
    folder = make_folder(family, tmp_path / "model")
    program = f"import runpy, sys; sys.path.insert(0, {str(REPOSITORY)!r})\n"
    program += f"runpy.run_path({__file__!r})['run_all']({family!r}, {str(folder)!r})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout)
    assert result["ends"].keys() == _cases(family).keys()
    for case, (message, seconds) in result["ends"].items():
        assert message.startswith(str(folder.with_name("copy"))), (case, message)
        assert len(message.splitlines()) == 1, (case, message)
        assert len(message) < 2000, case
        assert seconds < SECONDS, case
    assert result["peak"] < BYTES
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("family", FAMILIES)
def test_code_that_a_folder_names_is_not_run(family, tmp_path):
    folder = make_folder(family, tmp_path / "model")
    code = f"from pathlib import Path; Path({str(tmp_path / 'executed')!r}).touch()"
    for name in ("modeling_evil.py", "configuration_evil.py", "tokenization_evil.py"):
        (folder / name).write_text(code)
    _set("config.json", "auto_map")({"AutoModel": "modeling_evil.Evil", "AutoConfig": "configuration_evil.Evil"})(
        folder
    )
    _set("config.json", "_attn_implementation")("evil/kernel")(folder)
    _set("config.json", "text_config", "auto_map")({"AutoConfig": "configuration_evil.Evil"})(folder)
    _set("tokenizer_config.json", "auto_map")({"AutoTokenizer": ["tokenization_evil.Evil", None]})(folder)
    (folder / "generation_config.json").write_text('{"max_length": 1000000000}')
    assert fault_of(folder, lambda copy: None)[0] == "OPENED"
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("family", FAMILIES)
def test_vision_network_of_another_size_is_named_with_both_shapes(family, tmp_path):
    folder = make_folder(family, tmp_path / "model")
    key, value = SIZES[family]
    message, _ = fault_of(folder, _set("config.json", "vision_config", key)(value))
    assert "the checkpoint does not fit its config.json" in message
    assert "position" in message or key not in ("image_size", "max_position_embeddings")
    assert "has shape" in message
