"""The sizes of a PAM. PAM-3B, PAM-1.5B and nano differ in this and in nothing else."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from model.errors import CheckpointError


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
    """Everything that decides the shapes of a PAM's weights.

    language:  arguments of `transformers.Qwen2Config`.
    proposals: whether masks are proposed by classical means in front of SAM 2's decoder (see model/proposals/),
               for a decoder too small to find them alone.
    """

    name: str
    sam: SamConfig = field(default_factory=SamConfig)
    perceiver: PerceiverConfig = field(default_factory=PerceiverConfig)
    language: dict[str, Any] = field(default_factory=dict)
    proposals: bool = False

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
            return cls(
                **{
                    **data,
                    "sam": SamConfig(**{**sam, "overrides": tuple(sam["overrides"])}),
                    "perceiver": PerceiverConfig(**data["perceiver"]),
                    "language": dict(data["language"]),
                }
            )
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"the checkpoint's configuration cannot be read: {error}") from error
