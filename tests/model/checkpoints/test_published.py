"""Checkpoints in the layouts of the published ones: every layout loads to the same model, and a wrong one says so."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sam2.modeling.position_encoding import PositionEmbeddingSine
from torch import Tensor

import model
from model import PAM, CheckpointError, Point, Prompt
from model.checkpoints import CONFIG, TOKENIZER, from_official, loading, read
from model.checkpoints.official import EMBEDDING, HEAD
from tests.model.checkpoints import published
from tests.model.checkpoints.published import SAM_FILE, split, write

SHARDED = "sharded safetensors"
SHARD_1, SHARD_2 = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    """The weights of all these checkpoints, by their official names."""
    return published.tensors()


@pytest.fixture(scope="module")
def whole(weights: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sharded checkpoint, SAM 2.1 in the first shard and all else in the second; not to be changed."""
    return write(tmp_path_factory.mktemp("published") / "PAM-small", SHARDED, weights)


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy to damage; files are links, so put new ones in their places."""
    return Path(shutil.copytree(whole, tmp_path / "PAM-small", copy_function=os.link))


def check(pam: PAM, weights: dict[str, Tensor], dtype: torch.dtype = torch.float32) -> None:
    """The model holds exactly these weights, in that dtype, frozen."""
    state = pam.state_dict()
    assert set(state) == {from_official(key) for key in weights}
    for key, tensor in weights.items():
        assert torch.equal(state[from_official(key)], tensor.to(dtype)), key
    assert not pam.training and not any(p.requires_grad for p in pam.parameters())
    assert not any(t.is_meta for t in [*pam.parameters(), *pam.buffers()])


def put(folder: Path, name: str, change: Callable[[dict[str, Tensor]], object]) -> None:
    """Rewrite a .safetensors file of a checkpoint with a change."""
    tensors = load_file(folder / name)
    change(tensors)
    (folder / name).unlink()
    save_file(tensors, folder / name)


@pytest.mark.parametrize("form", ["safetensors", SHARDED, "bin", "sharded bin"])
def test_every_layout_is_the_same_model(form: str, weights: dict[str, Tensor], whole: Path, tmp_path: Path):
    """Single or in shards, safetensors or the older .bin, in a sub-folder: same weights, same version."""
    write(tmp_path / "repository" / "PAM-small", form, weights)
    pam = model.load(tmp_path / "repository")
    check(pam, weights)
    assert pam.version == model.load(whole).version
    assert pam.version.startswith("pam-64x2-") and len(pam.version) == len("pam-64x2-") + 8


def test_it_answers(whole: Path, coffee: np.ndarray):
    """A click to mask and words, as with any PAM: what was built without weights is whole."""
    pam = model.load(whole)
    region = pam.perceive(pam.encode(coffee), Prompt((Point(300, 170),)))
    assert region.mask.shape == coffee.shape[:2]
    assert region.model_version == pam.version


@pytest.mark.parametrize("beside", ["folder", "repository", "parent"])
def test_sam_in_its_own_file(beside: str, weights: dict[str, Tensor], tmp_path: Path):
    """In the checkpoint's folder, at the top of its repository, or next to the folder that was named."""
    rest, sam = split(weights)
    folder = write(tmp_path / "repository" / "PAM-small", "safetensors", rest)
    source = folder if beside == "parent" else folder.parent
    torch.save(
        {"model": sam}, {"folder": folder, "repository": folder.parent, "parent": folder.parent}[beside] / SAM_FILE
    )
    check(model.load(source), weights)


def test_sam_beside_counts_before_what_is_inside(
    folder: Path, weights: dict[str, Tensor], caplog: pytest.LogCaptureFixture
):
    """As in the official loader, which never looks inside; the log says which weights they are."""
    _, sam = split(weights)
    sam["no_mem_embed"] = sam["no_mem_embed"] + 1
    torch.save({"model": sam}, folder / SAM_FILE)
    with caplog.at_level(logging.INFO, "model.checkpoints"):
        check(model.load(folder), weights | {published.TOWER + "no_mem_embed": sam["no_mem_embed"]})
    (line,) = [record.getMessage() for record in caplog.records if record.name.startswith("model.checkpoints")]
    assert f"taken from {folder / SAM_FILE}, in place of the {len(sam)} tensors inside" in line


@pytest.mark.parametrize("kept", ["both", "embedding", "head"])
def test_a_tied_head(kept: str, weights: dict[str, Tensor], tmp_path: Path):
    """Whichever of the two names for one tensor a file keeps, the head is the embedding's storage."""
    theirs = {"embedding": "model.embed_tokens.weight", "head": "lm_head.weight"}
    shared = weights[theirs["embedding"]]
    some = {k: v for k, v in weights.items() if k not in theirs.values()}
    some |= {theirs[name]: shared for name in (theirs if kept == "both" else [kept])}
    form = "bin" if kept == "both" else "safetensors"
    pam = model.load(write(tmp_path / "tied", form, some, {"tie_word_embeddings": True}))
    check(pam, weights | {"lm_head.weight": shared})
    assert pam.language.lm_head.weight is pam.language.model.embed_tokens.weight


@pytest.mark.parametrize("tied", [True, False])
def test_a_head_of_its_own(tied: bool, weights: dict[str, Tensor], tmp_path: Path):
    """A head that differs from the embedding is loaded as it is, whatever the configuration says."""
    pam = model.load(write(tmp_path / "untied", "safetensors", weights, {"tie_word_embeddings": tied}))
    check(pam, weights)
    assert not pam.config.language["tie_word_embeddings"]
    assert pam.state_dict()[HEAD].data_ptr() != pam.state_dict()[EMBEDDING].data_ptr()


def test_the_vocabulary_is_the_tensors(whole: Path, weights: dict[str, Tensor], tmp_path: Path):
    """The official loader cuts the embedding after it has read the configuration, so that the two may differ."""
    pam = model.load(write(tmp_path / "cut", "safetensors", weights, {"vocab_size": 151936}))
    check(pam, weights)
    assert pam.config.language["vocab_size"] == 692


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_dtypes(dtype: str, whole: Path, weights: dict[str, Tensor]):
    """Every weight in the dtype that was asked for; tables that are computed keep theirs."""
    pam = model.load(whole, dtype=dtype)
    check(pam, weights, getattr(torch, dtype))
    assert pam.language.model.rotary_emb.inv_freq.dtype == torch.float32


@pytest.fixture
def rounding() -> Iterator[None]:
    """TF32 is allowed, and afterwards as it was."""
    places = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [place.allow_tf32 for place in places]
    for place in places:
        place.allow_tf32 = True
    yield
    for place, value in zip(places, before, strict=True):
        place.allow_tf32 = value


@pytest.mark.usefixtures("rounding")
@pytest.mark.parametrize(
    ("device", "dtype", "exact"),
    [("cuda", "float32", True), ("cuda:1", "float32", True), ("cuda", "bfloat16", False), ("cpu", "float32", False)],
)
def test_float32_on_cuda_is_float32(device: str, dtype: str, exact: bool, monkeypatch: pytest.MonkeyPatch):
    """cuDNN would round to TF32 by default; what torch is set to is left alone for any other dtype or device."""
    monkeypatch.setattr(loading, "check_device", lambda device: None)
    monkeypatch.setattr(loading, "fill", lambda pam, *arguments: pam)
    model.load("nano", device=device, dtype=dtype)
    assert torch.backends.cudnn.allow_tf32 is (not exact)
    assert torch.backends.cuda.matmul.allow_tf32 is (not exact)


def test_tables_go_with_the_model(whole: Path):
    """sam2 makes its tables of positions on the first GPU, wherever the model is to be; torch moves none of them."""
    pam = model.load(whole)
    sines = [module for module in pam.modules() if isinstance(module, PositionEmbeddingSine)]
    for module in sines:
        module(torch.zeros(1, 1, 4, 4))
    loading.tables_to(pam, "meta")
    tables = [value for module in pam.modules() for value in vars(module).values() if isinstance(value, Tensor)]
    tables += [table for module in sines for table in module.cache.values()]
    assert len(sines) == 2 and len(tables) > len(sines)
    assert all(table.is_meta for table in tables)


def test_unknown_dtype(whole: Path):
    """The message lists what there is."""
    with pytest.raises(CheckpointError, match="dtype 'int8' is none of auto, float32, bfloat16, float16"):
        model.load(whole, dtype="int8")


@pytest.mark.parametrize("device", ["cuda", "mps", "cuda:99", "abacus", "meta"])
def test_a_device_that_is_not_there(device: str, whole: Path):
    """Said before anything is read."""
    if device == "cuda" and torch.cuda.is_available() or device == "mps" and torch.backends.mps.is_available():
        device = "xla"
    with pytest.raises(CheckpointError, match=f"device '{device}' cannot be used"):
        model.load(whole, device=device)


def cut(name: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).unlink()
        (folder / name).write_bytes(data[: len(data) * 2 // 3])

    return damage


def configure(**values: object) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        config = json.loads((folder / CONFIG).read_text()) | values
        (folder / CONFIG).unlink()
        (folder / CONFIG).write_text(json.dumps(config))

    return damage


def index(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        path = folder / "model.safetensors.index.json"
        data = json.loads(path.read_text())
        change(data)
        path.unlink()
        path.write_text(json.dumps(data))

    return damage


def second(change: Callable[[dict[str, Tensor]], object]) -> Callable[[Path], None]:
    return lambda folder: put(folder, SHARD_2, change)


def another_models(tensors: dict[str, Tensor]) -> None:
    """What a LLaMA has."""
    for key in [key for key in tensors if not key.startswith(("model.layers.", "model.embed", "lm_head"))]:
        del tensors[key]


LAYER = "model.layers.1.mlp.up_proj.weight"


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (cut(SHARD_2), rf"{SHARD_2} is damaged"),
        (lambda folder: (folder / SHARD_2).unlink(), rf"{SHARD_2} is missing: .*index.json names it"),
        (
            lambda folder: (folder / "model.safetensors.index.json").unlink(),
            "it has shards, but no model.safetensors.index.json",
        ),
        (index(lambda data: data.pop("weight_map")), "index.json is no index: it has no weight_map"),
        (
            index(lambda data: data["weight_map"].update(x="../x.safetensors")),
            "places tensor 'x' in '../x.safetensors'",
        ),
        (index(lambda data: data["weight_map"].update(x="/x.safetensors")), "which is no .safetensors file beside it"),
        (index(lambda data: data["weight_map"].update(x="config.json")), "which is no .safetensors file beside it"),
        (index(lambda data: data["weight_map"].update(x=SHARD_2)), rf"{SHARD_2} lacks tensor 'x'"),
        (second(lambda t: t.pop(LAYER)), rf"{SHARD_2} lacks tensor '{LAYER}'"),
        (
            second(lambda t: t.update({LAYER: torch.zeros(5, 64)})),
            rf"{SHARD_2}: tensor '{LAYER}' is \(5, 64\), 64x2 needs \(128, 64\)",
        ),
        (second(lambda t: t.update({"model.layers.1.extra": torch.zeros(2)})), r"extra', \(2,\), has no place in 64x2"),
        (
            second(lambda t: t.update(transformer=torch.zeros(2))),
            rf"{SHARD_2}: tensor 'transformer' belongs to no part",
        ),
        (second(lambda t: t.update({LAYER: torch.zeros(128, 64, dtype=torch.int8)})), "is torch.int8; weights are"),
        (
            second(lambda t: t.update({"lm_head.weight": torch.zeros(9, 64)})),
            r"'model.embed_tokens.weight' is \(692, 64\), the head 'lm_head.weight' is \(9, 64\)",
        ),
        (configure(num_hidden_layers=3), "config.json says num_hidden_layers is 3, its weights have 2"),
        (configure(num_hidden_layers="many"), "config.json: num_hidden_layers is 'many': it must be a whole number"),
        (configure(num_hidden_layers=True), "num_hidden_layers is True: it must be a whole number"),
        (configure(intermediate_size=1 << 40), "intermediate_size is 1099511627776: it must be a whole number from 1"),
        (configure(rms_norm_eps="1e-6"), "rms_norm_eps is '1e-6': it must be a number"),
        (configure(rms_norm_eps=None), "language lacks rms_norm_eps"),
        (configure(num_attention_heads=None), "language lacks num_attention_heads"),
        (configure(tie_word_embeddings="false"), "tie_word_embeddings is 'false': it must be true or false"),
        (configure(eos_token_id=["a"]), r"eos_token_id is \['a'\]: it must be a token id"),
        (configure(hidden_act="gelu"), "hidden_act is 'gelu': it must be 'silu'"),
        (configure(rope_theta=None), "rope_theta is missing"),
        (configure(rope_theta="1e6"), "rope_theta is '1e6': it must be a number"),
        (configure(rope_parameters={"rope_theta": 1e4}), "rope_theta is 1000000.0 and 10000.0: it must be said, and"),
        (configure(rope_parameters={"rope_theta": 1e6, "rope_type": "yarn"}), "rotary positions are not scaled"),
        (configure(rope_parameters=7), "rope_parameters is 7: it must be an object"),
        (configure(rope_scaling={"type": "linear", "factor": 2.0}), "rope_scaling is .*positions are not scaled"),
        (configure(use_sliding_window=True), "use_sliding_window is set"),
        (configure(layer_types=["full_attention", "sliding_attention"]), "layer_types is .*full_attention alone"),
        (configure(hidden_size=32), r"embed_tokens.weight' is \(692, 64\), .*config.json says it is \(692, 32\)"),
        (configure(intermediate_size=64), r"down_proj.weight' is \(64, 128\), 64x2 needs \(64, 64\) \(6 such"),
        (configure(num_key_value_heads=4), r"k_proj.bias' is \(32,\), 64x2 needs \(64,\)"),
        (configure(num_attention_heads=0), "num_attention_heads is 0: it must be a whole number from 1"),
        (configure(num_attention_heads=5), "must each be a multiple of the next"),
        (configure(hidden_size=None), "no configuration of a PAM: it lacks hidden_size"),
        (lambda folder: (folder / CONFIG).unlink(), "is no checkpoint: it has no config.json"),
        (lambda folder: (folder / TOKENIZER).unlink(), "is no checkpoint: it has no tokenizer.json"),
    ],
)
def test_a_damaged_checkpoint_is_refused(folder: Path, damage: Callable[[Path], None], says: str):
    """The message names the file, the first tensor that is wrong, and the two shapes."""
    damage(folder)
    with pytest.raises(CheckpointError, match=says):
        model.load(folder)


def test_another_models_checkpoint(weights: dict[str, Tensor], tmp_path: Path):
    """A language model alone is no PAM: it has no SAM 2.1, and with one it lacks the perceiver."""
    some = dict(weights)
    another_models(some)
    folder = write(tmp_path / "llama", "safetensors", some, {"model_type": "llama", "mm_vision_tower": None})
    with pytest.raises(CheckpointError, match="holds no SAM 2.1, neither inside nor as sam2.1_hiera_large.pt beside"):
        model.load(folder)
    torch.save({"model": split(weights)[1]}, folder / "sam2.1_hiera_large.pt")
    with pytest.raises(CheckpointError, match=r"sam2.1_hiera_large.pt: tensor '.*' is \(.*\), 64x2 needs \(.*\)"):
        model.load(folder)
    configure(mm_vision_tower="sam2.1_hiera_t")(folder)
    (folder / "sam2.1_hiera_large.pt").rename(folder / SAM_FILE)
    with pytest.raises(CheckpointError, match=r"model.safetensors.*: tensor 'model.\w+newline', \(64,\), is missing"):
        model.load(folder)


def test_the_wrong_sam_beside(weights: dict[str, Tensor], tmp_path: Path):
    """Another size is no substitute, and the message says which one is wanted and where it is."""
    rest, sam = split(weights)
    folder = write(tmp_path / "PAM", "safetensors", rest, {"mm_vision_tower": "sam2"})
    torch.save({"model": sam}, folder / SAM_FILE)
    says = (
        r"sam2.1_hiera_large.pt beside \(there is sam2.1_hiera_tiny.pt\): fetch it from .*facebook/sam2.1-hiera-large"
    )
    with pytest.raises(CheckpointError, match=says):
        model.load(folder)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("pytorch_model.bin", "cut", "pytorch_model.bin is damaged"),
        ("pytorch_model.bin", "legacy", "pytorch_model.bin is in the format of PyTorch before 1.6.*rewrite it"),
        ("pytorch_model.bin", "code", "pytorch_model.bin is damaged, or holds more than tensors and is not trusted"),
        ("pytorch_model.bin", {"epoch": 3}, "pytorch_model.bin holds something other than tensors by name"),
        ("pytorch_model.bin", b"<html>", "pytorch_model.bin is damaged"),
        ("pytorch_model.bin", b"", "pytorch_model.bin is damaged"),
        ("model.safetensors", b"<html>not found</html>", "model.safetensors is damaged"),
        ("model.safetensors", b"", "model.safetensors is damaged"),
    ],
)
def test_a_wrong_file(name: str, content: object, says: str, weights: dict[str, Tensor], tmp_path: Path):
    """Truncated, another thing altogether, or a pickle that would run code: none is taken for weights."""
    folder = write(tmp_path / "wrong", "safetensors", {})
    (folder / "model.safetensors").unlink()
    path = folder / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "legacy":
        torch.save(dict(weights), path, _use_new_zipfile_serialization=False)
    else:
        torch.save(
            Code(tmp_path / "ran") if content == "code" else dict(weights) if content == "cut" else content, path
        )
        if content == "cut":
            os.truncate(path, path.stat().st_size * 2 // 3)
    with pytest.raises(CheckpointError, match=says):
        model.load(folder)
    assert not (tmp_path / "ran").exists()


class Code:
    """A pickle that makes a file when it is trusted."""

    def __init__(self, trace: Path):
        self.trace = trace

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.trace,))


@pytest.mark.parametrize(
    ("part", "key", "value"),
    [
        ("sam", "overrides", ["++model._target_=os.system"]),
        ("sam", "overrides", ["+model.x={_target_: os.getcwd}"]),
        ("sam", "overrides", ["+model.x=${oc.env:HOME}"]),
        ("sam", "overrides", ["hydra.run.dir=/tmp"]),
        ("sam", "overrides", ["+model.image_encoder.trunk.weights_path=weights.pt"]),
        ("sam", "overrides", ["model.compile_image_encoder=true"]),
        ("sam", "overrides", ["model.image_size=99999"]),
        ("sam", "overrides", "model.image_size=256"),
        ("sam", "overrides", [5]),
        ("sam", "base", "../../secret"),
        ("sam", "base", ["sam2.1_hiera_t"]),
        ("sam", "decoder_mlp", "384"),
        ("perceiver", "depth", 10**9),
        ("perceiver", "colour", 1),
        ("language", "attn_implementation", "org/kernel"),
        ("language", "hidden_act", "gelu"),
        ("language", "rope_theta", True),
        (None, "proposals", "no"),
        (None, "name", "nano\nX-Header: 1"),
        (None, "name", "n" * 65),
        (None, "name", ""),
        (None, "language", [["rope_theta", 1e4]]),
    ],
)
def test_a_configuration_runs_no_code(part: str | None, key: str, value: object, tmp_path: Path):
    """Hydra would call, sam2 unpickle, and transformers fetch, what a checkpoint's configuration names; and a value of
    another type, or an absurd size, goes no further than the configuration, in whose message it stands."""
    folder = Path(shutil.copytree(model.checkpoints.NANO, tmp_path / "nano"))
    config = json.loads((folder / CONFIG).read_text())
    (config["model"][part] if part else config["model"])[key] = value
    (folder / CONFIG).write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=f"config.json: .*configuration cannot be read: .*{key}"):
        read(folder)


@pytest.mark.parametrize("key", ["rope_theta", "rms_norm_eps", "num_attention_heads"])
def test_a_configuration_that_leaves_something_out(key: str, tmp_path: Path):
    """Transformers would choose it silently, and no tensor's shape would contradict."""
    folder = Path(shutil.copytree(model.checkpoints.NANO, tmp_path / "nano"))
    config = json.loads((folder / CONFIG).read_text())
    del config["model"]["language"][key]
    (folder / CONFIG).write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=f"language lacks {key}"):
        read(folder)


def test_rotary_positions_as_transformers_5_saves_them(folder: Path, whole: Path):
    """Under `rope_parameters`: the same model as with `rope_theta` by itself, and the library is told."""
    configure(rope_theta=None, rope_parameters={"rope_theta": 1e6, "rope_type": "default"})(folder)
    pam, plain = model.load(folder), model.load(whole)
    assert pam.config == plain.config
    assert pam.language.config.rope_parameters["rope_theta"] == 1e6
    assert torch.equal(pam.language.model.rotary_emb.inv_freq, plain.language.model.rotary_emb.inv_freq)


def test_several_in_one_folder(whole: Path, tmp_path: Path):
    """Which one is meant is for the caller to say."""
    for name in ("PAM-1.5B", "PAM-3B"):
        shutil.copytree(whole, tmp_path / name, copy_function=os.link)
    with pytest.raises(CheckpointError, match=r"holds several checkpoints, name one: .*/PAM-1.5B, .*/PAM-3B"):
        read(tmp_path)


@pytest.mark.parametrize("source", ["nowhere", "a/b/c/d", "/no/where", "../x", "https://example.org/pam", ""])
def test_neither_folder_nor_id(source: str):
    """What cannot be an id is not asked for."""
    with pytest.raises(CheckpointError, match="is no checkpoint"):
        model.load(source)
