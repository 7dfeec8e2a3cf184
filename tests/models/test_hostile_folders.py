"""Model folders that somebody made to do harm: each ends in one message, runs nothing, and costs next to nothing."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

REPOSITORY = Path(__file__).resolve().parents[2]
SECONDS = 5.0
"""Of computing time, for each."""
BYTES = 10**9
"""At most of memory, for all of them in one process with its libraries."""
NORM = "decoder.layer_norm.weight"
SETTINGS = {"patch_image_size": 64, "max_image_size": 64, "imagenet_default_mean_and_std": False, "prompt": " what?"}
SETTINGS |= {"style_prompt": " {} what?", "trained_styles": ["pirate"], "length_penalty": 1.0, "guidance": 1.0}
SETTINGS["beam_search"] = {"beam_size": 2, "max_len_b": 6, "min_len": 1, "no_repeat_ngram_size": 3}


class Payload:
    """Unpickled, it makes a file beside the folder."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


def _set(file: str, *keys: str):
    def choose(value):
        def edit(folder: Path) -> None:
            content = json.loads((folder / file).read_text())
            place = content
            for key in keys[:-1]:
                place = place[key]
            place[keys[-1]] = value
            (folder / file).write_text(json.dumps(content))

        return edit

    return choose


def _write(file: str, content: str | bytes) -> Callable[[Path], None]:
    data = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / file).write_bytes(data) and None


def _large(file: str) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        with (folder / file).open("wb") as out:
            out.truncate(200_000_000)

    return edit


def _half(file: str) -> Callable[[Path], None]:
    return lambda folder: (folder / file).write_bytes(
        (folder / file).read_bytes()[: (folder / file).stat().st_size // 2]
    )


def _state(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        state = torch.load(folder / "pytorch_model.bin", weights_only=True)
        torch.save(change(state) or state, folder / "pytorch_model.bin")

    return edit


def _pickled(protocol: int) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        content = pickle.dumps({"encoder.layer_norm.weight": Payload(folder.parent / "executed")}, protocol)
        (folder / "pytorch_model.bin").write_bytes(content)

    return edit


def _rezipped(compression: int, payload: bool) -> Callable[[Path], None]:
    """The checkpoint with its zip made again, with or without a payload in its pickle."""

    def edit(folder: Path) -> None:
        file = folder / "pytorch_model.bin"
        with zipfile.ZipFile(file) as old:
            held = {entry.filename: old.read(entry) for entry in old.infolist()}
        if payload:
            name = next(name for name in held if name.endswith("data.pkl"))
            held[name] = pickle.dumps({"x": Payload(folder.parent / "executed")}, 2)
        with zipfile.ZipFile(file, "w", compression) as new:
            for name, content in held.items():
                new.writestr(name, content)

    return edit


def _safetensors(change: Callable[[Path], None]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        state = torch.load(folder / "pytorch_model.bin", weights_only=True)
        (folder / "pytorch_model.bin").unlink()
        save_file({name: tensor.clone() for name, tensor in state.items()}, folder / "model.safetensors")
        change(folder)

    return edit


def _index(weight_map: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        (folder / "pytorch_model.bin").unlink()
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))

    return edit


def _vision(**changes: object) -> Callable[[Path], None]:
    config = {"model_type": "convnext", "num_channels": 3, "depths": [1, 1, 1, 1], "hidden_sizes": [8, 8, 8, 8]}
    config |= changes.pop("config", {})
    fields = {
        "kind": "transformers",
        "source": "x",
        "sha256": "0" * 64,
        "size": 64,
        "mean": [0.5] * 3,
        "std": [0.5] * 3,
    }
    fields |= {"channels": 8, "stride": 32, "named": False, "config": config} | changes
    return _set("config.json", "vision")({name: value for name, value in fields.items() if value is not None})


NUMBERS = {
    "encoder_layers": [1_000_000, 10**9, -1, 0, "4", 4.5, None, [4], True, 1e308, {"a": 1}, 100],
    "decoder_layers": [1_000_000, 10**30],
    "d_model": [10**7, 10**15, -8, 0, "wide", 64, 16_384],
    "vocab_size": [10**9, -1, 999_999, None],
    "text_vocab_size": [10**9, "x"],
    "max_position_embeddings": [1_000_000, 4096, 2048],
    "image_bucket_size": [5000, 56, 0],
    "token_bucket_size": [10**8, 8192],
    "code_image_size": [10**7, -5],
    "encoder_ffn_dim": [10**9, 65_536],
    "encoder_attention_heads": [7, 0, 10**6],
    "resnet_width": [10**6, 1024],
    "resnet_layers": [[10**6, 1, 1], [1, 1], "abc", 3, [1, 1, "1"], [256, 256, 256]],
    "resnet_stem_stride": [3, 0],
    "resnet_type": [7, ["resnet18"]],
    "dropout": [1e300, -0.1, "half", 1],
    "init_std": [1e30, "x"],
    "attn_scale_factor": [0, -1, 1e300],
    "pad_token_id": [-1, 999_999, "1", 1.5],
    "forced_eos_token_id": [10**9, "2"],
    "activation_function": ["os.system", {"gelu": 1}, 3],
    "orig_patch_image_size": [0, 10**6],
    "share_decoder_input_output_embed": ["yes", 1],
    "use_ofasys": [True],
    "vision": [{}, [], "efficientnet_lite0", {"kind": "transformers"}],
    "model_type": ["bert", ["ofa"], 3, None],
}
SETTING_VALUES = {
    "patch_image_size": [10**6, 4096, "64", None, [64], -64, 65, 1e300],
    "max_image_size": [10**9, "x"],
    "imagenet_default_mean_and_std": ["yes", 1],
    "mean_std": [[[1], [2]], [[0.5] * 3, [0, 0, 0]], "half", [[1e300] * 3, [1] * 3], [[0.5] * 3], {"mean": 1}],
    "length_penalty": ["x", 1e300, None],
    "guidance": [-1, "x"],
    "trained_styles": ["abc", [1, 2], None, {"a": 1}],
    "style_prompt": [5, None, ["x"]],
    "prompt": [5],
    "beam_search": [[], None, 5, {}],
}
BEAM_VALUES = {"beam_size": [10**6, 0, "5"], "max_len_b": [10**9, 4000], "min_len": [-1], "no_repeat_ngram_size": ["x"]}
TOKENIZER_VALUES = {
    "num_codes": [10**8, -1, "many", 65_000, None, 1.5],
    "num_bins": [10**8, [1]],
    "style_tokens": [5, [5], ["x" * 10**6], "abc", [[]], [f"<style_{k}>" for k in range(20_000)]],
}
JSON_FILES = ("config.json", "configuration.json", "tokenizer_config.json", "styles.json", "vocab.json")
DEEP = {
    f"{depth} deep in {file}": _write(file, '{"x": ' + "[" * depth + "]" * depth + "}")
    for depth in (20, 900, 100_000)
    for file in JSON_FILES
}


def _each(table: dict[str, list], file: str, *above: str) -> dict[str, Callable[[Path], None]]:
    edits = (
        (".".join((*above, key)), _set(file, *above, key), value) for key, found in table.items() for value in found
    )
    return {f"{name}={str(value)[:40]}": choose(value) for name, choose, value in edits}


CASES: dict[str, Callable[[Path], None]] = {
    **_each(NUMBERS, "config.json"),
    **_each(SETTING_VALUES, "configuration.json", "model"),
    **_each(BEAM_VALUES, "configuration.json", "model", "beam_search"),
    **_each(TOKENIZER_VALUES, "tokenizer_config.json"),
    **_each({"names": [5, "abc", [5], [[]], None, [""], {"a": 1}]}, "styles.json"),
    **DEEP,
    **{f"200 MB of {file}": _large(file) for file in (*JSON_FILES, "merges.txt")},
    **{f"empty {file}": _write(file, "") for file in (*JSON_FILES, "merges.txt", "pytorch_model.bin")},
    **{f"list as {file}": _write(file, "[1, 2]") for file in JSON_FILES},
    **{f"half of {file}": _half(file) for file in (*JSON_FILES, "merges.txt", "pytorch_model.bin")},
    **{f"NaN in {file}": _write(file, '{"dropout": NaN}') for file in JSON_FILES},
    "styles aliases": _set("styles.json", "aliases")([1]),
    "styles inject": _set("styles.json", "inject")(["code"]),
    "styles neutral": _set("styles.json", "neutral")(7),
    "styles edited": _set("styles.json", "names")(["pirate", "robot", "neutral"]),
    "a million styles": _write("styles.json", json.dumps({"names": ["x"] * 1_000_000})),
    "vision of a million layers": _vision(config={"depths": [10**6, 1, 1, 1]}),
    "vision of huge channels": _vision(config={"hidden_sizes": [10**9] * 4}),
    "vision of wide channels": _vision(config={"hidden_sizes": [900_000] * 4}),
    "vision of a million classes": _vision(config={"num_labels": 10**8}),
    "vision of an unknown kind": _vision(config={"model_type": "evil"}),
    "vision without a configuration": _vision(config={"model_type": None}),
    "vision with code": _vision(config={"model_type": "evil", "auto_map": {"AutoConfig": "evil--code.Config"}}),
    "vision by an unknown name": _vision(kind="efficientnet_lite9"),
    "vision deviation zero": _vision(std=[0, 0, 0]),
    "vision mean of text": _vision(mean=["a", "b", "c"]),
    "vision hash": _vision(sha256="../../etc"),
    "vision from afar": _vision(kind="efficientnet_lite0", named=True, source="/dev/null"),
    "vocabulary of texts": _write("vocab.json", '{"<s>": "0"}'),
    "vocabulary of huge numbers": _set("vocab.json", "<mask>")(10**8),
    "vocabulary with a number twice": _set("vocab.json", "<mask>")(0),
    "vocabulary without bytes": _write("vocab.json", json.dumps({token: n for n, token in enumerate("abc")})),
    "merges of another model": _write("merges.txt", "#version: 0.2\nfoo bar\n"),
    "merges of one piece": _write("merges.txt", "#version: 0.2\na\n"),
    "merges that are no text": _write("merges.txt", b"\xff\xfe\x00"),
    "merges without the first": lambda folder: (folder / "merges.txt").write_text(
        "\n".join((folder / "merges.txt").read_text().split("\n")[2:])
    ) and None,
    **{f"code in a pickle of protocol {protocol}": _pickled(protocol) for protocol in range(6)},
    "code in the pickle of a zip": _rezipped(zipfile.ZIP_STORED, True),
    "code in a compressed zip": _rezipped(zipfile.ZIP_DEFLATED, True),
    "compressed zip": _rezipped(zipfile.ZIP_DEFLATED, False),
    "text as weights": _write("pytorch_model.bin", "version https://git-lfs.github.com/spec/v1"),
    "list as weights": _state(lambda state: [*state.values()]),
    "number as a weight": _state(lambda state: {**state, "encoder.layer_norm.weight": 3}),
    "weights two dictionaries down": _state(lambda state: {"model": {"state_dict": state}}),
    "weights twice": _state(lambda state: {"model": state, "state_dict": state}),
    "code beside weights": lambda folder: _state(
        lambda state: {"model": state, "args": Payload(folder.parent / "executed")}
    )(folder),
    "a name of a million prefixes": _state(lambda state: {"module." * 10**6: state[NORM]}),
    "sparse weight": _state(lambda state: {**state, NORM: torch.eye(3).to_sparse()}),
    "whole numbers as a weight": _state(lambda state: {**state, NORM: state[NORM].int()}),
    "complex weight": _state(lambda state: {**state, NORM: state[NORM] + 1j}),
    "terabyte of one number": _state(lambda state: {**state, "x": torch.zeros(1).expand(10**6, 10**6)}),
    "safetensors cut short": _safetensors(_half("model.safetensors")),
    "safetensors that claims a header": _safetensors(_write("model.safetensors", b"\xff" * 7 + b"\x7f{}")),
    "safetensors with a header of lists": _safetensors(
        _write("model.safetensors", (300).to_bytes(8, "little") + b"[" * 300)
    ),
    "index out of the folder": _index({"a": "../x.safetensors"}),
    "index of a whole path": _index({"a": "/etc/passwd"}),
    "index of what is not there": _index({"a": "x.safetensors"}),
    "index of numbers": _index({"a": 3}),
    "index of nothing": _index([]),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder of 40,000 parameters that opens, without a manifest, as somebody else's."""
    from captioning.styled import StyledCaptioner, open_styled
    from models import new_captioner
    from models.captioner import NewModel
    from models.settings import read_settings
    from preprocessors.text.styles import StyleRegistry

    captions = ["a red circle above a blue square", "a dog in the snow looks up", "arr, the green star"]
    overrides = {"d_model": 32, "resnet_width": 4, "image_bucket_size": 8, "token_bucket_size": 8}
    overrides |= {
        f"{side}_{name}": n for side in ("encoder", "decoder") for name, n in (("layers", 1), ("ffn_dim", 48))
    }
    wanted = NewModel("nano", overrides, captions, [" pirate what?"], 300, 5, seed=1)
    at = tmp_path_factory.mktemp("hostile") / "model"
    at.mkdir()
    (at / "configuration.json").write_text(json.dumps({"model": SETTINGS}))
    StyledCaptioner(new_captioner(wanted), StyleRegistry(["pirate"]), read_settings(at)).save_to_dir(at)
    (at / "MANIFEST.json").unlink()
    assert open_styled(at).settings is not None
    return at


def fault_of(folder: Path, edit: Callable[[Path], None]) -> tuple[str, float]:
    """What opening says of an edited copy, and the computing time it takes; the copy is gone afterwards."""
    from captioning.styled import open_styled

    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    edit(copy)
    started = time.process_time()
    try:
        open_styled(copy)
    except (ValueError, FileNotFoundError) as error:  # what finetune.py tells in one message, exit code 2
        return str(error), time.process_time() - started
    except BaseException as error:
        return f"TRACEBACK {error!r}", time.process_time() - started
    finally:
        shutil.rmtree(copy)
    return "OPENED", time.process_time() - started


def run_all(folder: str) -> None:
    """Writes what each case ended with, and the most memory that the process had by then, in bytes."""
    assert fault_of(Path(folder), lambda copy: None)[0] == "OPENED"  # and the libraries are imported
    ends = {case: fault_of(Path(folder), edit) for case, edit in CASES.items()}
    # Not ru_maxrss, which a process inherits from the one that started it.
    status = Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024
    sys.stdout.write(json.dumps({"ends": ends, "peak": peak}))


@pytest.fixture(scope="module")
def result(folder) -> dict:
    """Of a process of its own, whose memory is that of these folders alone."""
    program = f"import runpy, sys; sys.path.insert(0, {str(REPOSITORY)!r})\n"
    program += f"runpy.run_path({__file__!r})['run_all']({str(folder)!r})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("case", CASES)
def test_hostile_folder_is_refused_in_one_message_at_once(folder, result, case):
    message, seconds = result["ends"][case]
    assert message.startswith(str(folder.with_name("copy")))
    assert len(message.splitlines()) == 1
    assert len(message) < 2000
    assert seconds < SECONDS


def test_hostile_folders_run_nothing_and_stay_below_a_gigabyte(folder, result):
    assert [path.name for path in folder.parent.iterdir()] == ["model"]
    assert len(result["ends"]) == len(CASES) >= 60
    assert result["peak"] < BYTES


def test_payload_of_these_tests_does_harm_where_it_is_loaded(tmp_path):
    pickle.loads(pickle.dumps(Payload(tmp_path / "executed")))
    assert (tmp_path / "executed").exists()


@pytest.mark.parametrize("key", ["encoder_layers", "dropout", "resnet_layers"])
def test_message_names_file_key_and_value(folder, key):
    value = NUMBERS[key][0]
    message, _ = fault_of(folder, _set("config.json", key)(value))
    assert f"config.json: {key}" in message
    assert "must be" in message


def test_what_other_libraries_would_read_changes_nothing(folder, tmp_path):
    from captioning.styled import open_styled

    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    code = f"from pathlib import Path; Path({str(tmp_path / 'executed')!r}).touch()"
    for name in ("modeling_ofa.py", "configuration_ofa.py", "tokenization_ofa.py", "handler.py", "sitecustomize.py"):
        (copy / name).write_text(code)
    _set("config.json", "auto_map")({"AutoModel": "modeling_ofa.Evil", "AutoConfig": "configuration_ofa.Evil"})(copy)
    _set("config.json", "quantization_config")({"quant_method": "evil"})(copy)
    _set("config.json", "_attn_implementation")("evil/kernel")(copy)
    _set("config.json", "num_labels")(10**9)(copy)
    _set("tokenizer_config.json", "auto_map")({"AutoTokenizer": ["tokenization_ofa.Evil", None]})(copy)
    (copy / "adapter_config.json").write_text('{"base_model_name_or_path": "evil/model", "peft_type": "LORA"}')
    (copy / "generation_config.json").write_text('{"max_length": 1000000000}')
    (copy / "tokenizer.json").write_text('{"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}}')
    opened, before = open_styled(copy).captioner, open_styled(folder).captioner
    assert opened.tokenizer.encode_text("a dog in the snow") == before.tokenizer.encode_text("a dog in the snow")
    assert all(torch.equal(a, b) for a, b in zip(opened.module.state_dict().values(),
                                                 before.module.state_dict().values(), strict=True))  # fmt: skip
    assert not (tmp_path / "executed").exists()


def test_weights_in_several_files_are_opened(folder, tmp_path):
    from captioning.styled import open_styled

    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    _safetensors(lambda place: None)(copy)
    state = load_file(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    names = sorted(state)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, held in parts.items():
        save_file({name: state[name] for name in held}, copy / file)
    weight_map = {name: file for file, held in parts.items() for name in held}
    (copy / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    opened = open_styled(copy).captioner.module.state_dict()
    assert all(torch.equal(opened[name], tensor) for name, tensor in state.items())
