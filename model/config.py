"""The sizes of a PAM. PAM-3B, PAM-1.5B and nano differ in this and in nothing else."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, field
from typing import Any

from model.errors import CheckpointError
from model.region import FIELDS

LANGUAGE_KEYS = (
    "attention_dropout",
    "bos_token_id",
    "eos_token_id",
    "hidden_act",
    "hidden_size",
    "initializer_range",
    "intermediate_size",
    "max_position_embeddings",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "rms_norm_eps",
    "rope_theta",
    "tie_word_embeddings",
    "vocab_size",
)
"""What a checkpoint may say of its language model; transformers takes much else, down to code to fetch."""

SAM_BASE = re.compile(r"sam2\.1_hiera_(t|s|b\+|l)")
SAM_OVERRIDE = re.compile(r"\+{0,2}model(\.[a-z]\w*)+=[\w.\-,\[\]]*")
"""Numbers, lists and names for keys without a leading underscore: Hydra calls what stands under `_target_`."""


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
    close_up:  side in pixels at which the surroundings of a mask are looked at once more for its words (see
               model/close_up.py), a multiple of 32; 0 where they are not, as in the published models.
    unknown:   the category that says that the model has no word for a thing; its score is low, "" if there is none.
    calibration: per field a slope and an offset that turn the mean log-probability of an answer into the chance that
               it is right (see Speaker); fitted on held-out regions, absent where that was not done.
    label_temperature: by which a closed vocabulary's log-likelihoods are divided (see model/vocabulary.py); fitted on
               held-out regions, 1 where that was not done.
    """

    name: str
    sam: SamConfig = field(default_factory=SamConfig)
    perceiver: PerceiverConfig = field(default_factory=PerceiverConfig)
    language: dict[str, Any] = field(default_factory=dict)
    proposals: bool = False
    close_up: int = 0
    unknown: str = ""
    calibration: dict[str, tuple[float, float]] = field(default_factory=dict)
    label_temperature: float = 1.0

    def __post_init__(self) -> None:
        if isinstance(self.close_up, bool) or self.close_up not in range(0, 4097, 32):
            raise ValueError(f"close_up is {self.close_up}: it must be a multiple of 32 up to 4096")
        for name, (slope, offset) in self.calibration.items():
            if name not in FIELDS or not (0 < slope < math.inf and math.isfinite(offset)):
                raise ValueError(f"calibration of {name!r} is {(slope, offset)}: give a positive slope, an offset")
        if not 0 < self.label_temperature < math.inf:
            raise ValueError(f"label_temperature is {self.label_temperature}: it must be a positive number")

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types; `from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> PAMConfig:
        """Read what stands under "model" in a config.json.

        Raises CheckpointError when a key is missing, unknown or of the wrong type.
        """
        try:
            data = dict(data["model"])
            sam = dict(data["sam"])
            _check_trust(sam, data["language"])
            calibration = {name: (float(a), float(b)) for name, (a, b) in data.get("calibration", {}).items()}
            return cls(
                **{
                    **data,
                    "sam": SamConfig(**{**sam, "overrides": tuple(sam["overrides"])}),
                    "perceiver": PerceiverConfig(**data["perceiver"]),
                    "language": dict(data["language"]),
                    "calibration": calibration,
                }
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"the checkpoint's configuration cannot be read: {error}") from error


def _check_trust(sam: dict[str, Any], language: dict[str, Any]) -> None:
    """Raise ValueError where a configuration would have sam2 or transformers do more than choose sizes."""
    for text, form in [(sam["base"], SAM_BASE), *((text, SAM_OVERRIDE) for text in sam["overrides"])]:
        if not form.fullmatch(text):
            raise ValueError(f"{text!r} is no setting of SAM 2.1 that a checkpoint may have")
    if strangers := sorted(set(language) - set(LANGUAGE_KEYS)):
        raise ValueError(f"{strangers[0]!r} is no size of a language model")
