"""The sizes of a PAM. PAM-3B, PAM-1.5B and nano differ in this and in nothing else."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from model.errors import CheckpointError
from model.fields import LANGUAGES
from model.region import FIELDS

MAX_WIDTH, MAX_LAYERS, MAX_VOCABULARY = 1 << 15, 256, 1 << 20
"""Above any PAM to come; a layer of an absurd size would be allocated before its weights are seen to differ."""


@dataclass(frozen=True)
class Field:
    """What a field of an untrusted configuration must be: in words, and as a test."""

    says: str
    holds: Callable[[Any], bool]


def _whole(low: int, high: int) -> Field:
    # bool is a kind of int.
    return Field(f"a whole number from {low} to {high}", lambda value: type(value) is int and low <= value <= high)


def _number(low: float, high: float) -> Field:
    return Field(
        f"a number above {low:g}, up to {high:g}", lambda value: type(value) in (int, float) and low < value <= high
    )


def _token(value: Any) -> bool:
    return value is None or (type(value) is int and 0 <= value < MAX_VOCABULARY)


def _logistic(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) == 2
        and all(type(part) in (int, float) and math.isfinite(part) for part in value)
        and value[0] > 0
    )


WIDTH, LAYERS, FLAG = _whole(1, MAX_WIDTH), _whole(1, MAX_LAYERS), Field("true or false", lambda v: type(v) is bool)

REQUIRED = {
    "hidden_size": WIDTH,
    "intermediate_size": WIDTH,
    "num_attention_heads": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_key_value_heads": WIDTH,
    "rms_norm_eps": _number(0, 1),
    "rope_theta": _number(0, 1e12),
    "vocab_size": _whole(1, MAX_VOCABULARY),
}
"""What a language model must be told: transformers would choose it silently, and no tensor's shape would contradict."""

LANGUAGE_FIELDS = REQUIRED | {
    "attention_dropout": Field("a number from 0 to 1", lambda v: type(v) in (int, float) and 0 <= v <= 1),
    "bos_token_id": Field("a token id or null", _token),
    "eos_token_id": Field(
        "a token id, a list of them or null", lambda v: all(map(_token, v)) if isinstance(v, list) else _token(v)
    ),
    "hidden_act": Field("'silu', which the language side is written for", lambda v: v == "silu"),
    "initializer_range": _number(0, 1),
    "max_position_embeddings": _whole(1, 1 << 24),
    "tie_word_embeddings": FLAG,
}
"""What a checkpoint may say of its language model; transformers takes much else, down to code to fetch."""

PERCEIVER_FIELDS = {"depth": LAYERS, "heads": WIDTH, "mlp": WIDTH, "semantic_tokens": _whole(1, 1024)}

PAM_FIELDS = {
    "name": Field(
        "1 to 64 letters, digits, and . _ -",
        lambda v: isinstance(v, str) and bool(re.fullmatch(r"[\w.-]{1,64}", v, re.ASCII)),
    ),
    "sam": Field("an object", lambda v: isinstance(v, dict)),
    "perceiver": Field("an object", lambda v: isinstance(v, dict)),
    "language": Field("an object", lambda v: isinstance(v, dict)),
    "proposals": FLAG,
    "ranker": FLAG,
    "close_up": Field("a multiple of 32 from 0 to 4096", lambda v: type(v) is int and v in range(0, 4097, 32)),
    "unknown": Field(
        "a word of up to 64 characters", lambda v: isinstance(v, str) and len(v) <= 64 and v.isprintable()
    ),
    "calibration": Field(
        "an object that gives fields of words a positive slope and an offset",
        lambda v: isinstance(v, dict) and set(v) <= set(FIELDS) and all(map(_logistic, v.values())),
    ),
    "label_temperature": _number(0, 1e6),
    "languages": Field(
        f"a list of {' and '.join(LANGUAGES)}",
        lambda v: isinstance(v, list | tuple) and bool(v) and all(each in LANGUAGES for each in v),
    ),
}

SAM_BASE = re.compile(r"sam2\.1_hiera_(t|s|b\+|l)")
SAM_OVERRIDE = re.compile(
    r"\+{0,2}model\.(?:image_size"
    r"|image_encoder\.trunk\.(?:embed_dim|num_heads|stages|global_att_blocks|window_spec"
    r"|window_pos_embed_bkg_spatial_size)"
    r"|image_encoder\.neck\.(?:position_encoding\.num_pos_feats|d_model|backbone_channel_list)"
    r"|memory_attention\.(?:d_model|num_layers|layer\.d_model|layer\.dim_feedforward)"
    r"|memory_attention\.layer\.(?:self|cross)_attention\.(?:embedding_dim|feat_sizes|kv_in_dim)"
    r"|memory_encoder\.(?:out_dim|in_dim|position_encoding\.num_pos_feats|mask_downsampler\.embed_dim|fuser\.layer\.dim)"
    r")=(?:\d{1,4}|\[\d{1,4}(?:,\d{1,4})*\])"
)
"""Sizes alone: Hydra calls what stands under `_target_`, and sam2 unpickles the file that `weights_path` names."""

SAM_FIELDS = {
    "base": Field("one of SAM 2.1's configurations", lambda v: isinstance(v, str) and bool(SAM_BASE.fullmatch(v))),
    "overrides": Field(
        "a list of SAM 2.1's sizes",
        lambda v: isinstance(v, list | tuple) and all(isinstance(t, str) and SAM_OVERRIDE.fullmatch(t) for t in v),
    ),
    "decoder_mlp": WIDTH,
}


@dataclass(frozen=True)
class SamConfig:
    """Which SAM 2.1 sees.

    base:        a configuration that comes with the `sam2` package, such as "sam2.1_hiera_l".
    overrides:   changes to it, in Hydra's notation ("model.image_size=256").
    decoder_mlp: width of the MLP in the mask decoder's transformer; sam2 hard-codes 2048.
    """

    base: str = "sam2.1_hiera_l"
    overrides: tuple[str, ...] = ()
    decoder_mlp: int = 2048


@dataclass(frozen=True)
class PerceiverConfig:
    """The semantic perceiver; its width is the one of SAM 2's mask decoder."""

    depth: int = 2
    heads: int = 8
    mlp: int = 2048
    semantic_tokens: int = 16


@dataclass(frozen=True)
class PAMConfig:
    """Everything that a PAM is besides its weights and its tokenizer.

    language:  arguments of `transformers.Qwen2Config`.
    proposals: whether masks are proposed by classical means in front of SAM 2's decoder (see model/proposals/),
               for a decoder too small to find them alone.
    ranker:    whether the weights hold a ranker of proposals that has learned from corrected masks; else the one that
               comes with the package says which to believe.
    close_up:  side in pixels at which the surroundings of a mask are looked at once more for its words (see
               model/close_up.py), a multiple of 32; 0 where they are not, as in the published models.
    unknown:   the category that says that the model has no word for a thing; its score is low, "" if there is none.
    calibration: per field a slope and an offset that turn the mean log-probability of an answer into the chance that
               it is right (see Speaker); fitted on held-out regions, absent where that was not done.
    label_temperature: by which a closed vocabulary's log-likelihoods are divided (see model/vocabulary.py); fitted on
               held-out regions, 1 where that was not done.
    languages: which the language model was trained to describe regions in, "en" and "zh".
    """

    name: str
    sam: SamConfig = field(default_factory=SamConfig)
    perceiver: PerceiverConfig = field(default_factory=PerceiverConfig)
    language: dict[str, Any] = field(default_factory=dict)
    proposals: bool = False
    ranker: bool = False
    close_up: int = 0
    unknown: str = ""
    calibration: dict[str, tuple[float, float]] = field(default_factory=dict)
    label_temperature: float = 1.0
    languages: tuple[str, ...] = tuple(LANGUAGES)

    def __post_init__(self) -> None:
        for key in ("close_up", "calibration"):
            if not PAM_FIELDS[key].holds(value := getattr(self, key)):
                raise ValueError(f"{key} is {value!r}: it must be {PAM_FIELDS[key].says}")
        if not 0 < self.label_temperature < math.inf:
            raise ValueError(f"label_temperature is {self.label_temperature}: it must be a positive number")

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types; `from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> PAMConfig:
        """Read what stands under "model" in a config.json.

        Raises CheckpointError when a key is missing, unknown, or has a value that no PAM could have.
        """
        try:
            data = dict(data["model"])
            check_fields("model", data, PAM_FIELDS, ("name", "sam", "perceiver", "language"))
            sam, perceiver, language = data["sam"], data["perceiver"], data["language"]
            check_fields("sam", sam, SAM_FIELDS, ("base", "overrides"))
            check_fields("perceiver", perceiver, PERCEIVER_FIELDS, ())
            check_language(language)
            calibration = {name: (float(a), float(b)) for name, (a, b) in data.get("calibration", {}).items()}
            return cls(
                **{
                    **data,
                    "sam": SamConfig(**{**sam, "overrides": tuple(sam["overrides"])}),
                    "perceiver": PerceiverConfig(**perceiver),
                    "language": dict(language),
                    "calibration": calibration,
                    "languages": tuple(data.get("languages", LANGUAGES)),
                }
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"the checkpoint's configuration cannot be read: {error}") from error


def check_fields(what: str, data: dict[str, Any], fields: dict[str, Field], required: Iterable[str]) -> None:
    """Raise ValueError unless a part of an untrusted configuration has what it must, and nothing unknown or absurd."""
    for key in required:
        if key not in data:
            raise ValueError(f"{what} lacks {key}")
    for key, value in data.items():
        if key not in fields:
            raise ValueError(f"{key!r} is no field of {what}")
        if not fields[key].holds(value):
            raise ValueError(f"{key} is {value!r}: it must be {fields[key].says}")


def check_language(language: dict[str, Any]) -> None:
    """Raise ValueError for sizes that no language model of a PAM has, or that lack what transformers would guess."""
    check_fields("language", language, LANGUAGE_FIELDS, REQUIRED)
    heads, shared = language["num_attention_heads"], language["num_key_value_heads"]
    if language["hidden_size"] % heads or heads % shared:
        raise ValueError(
            f"hidden_size {language['hidden_size']}, num_attention_heads {heads} and num_key_value_heads {shared} "
            "must each be a multiple of the next"
        )
