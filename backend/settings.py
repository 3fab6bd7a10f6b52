"""All settings, in one typed table. Nothing else reads the environment.

Each row is an environment variable (`PAM_STUDIO_` and the name in capitals, unless the row says otherwise), a line of
the README's table, and where it makes sense an option of `pam-studio serve`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

MIB = 1 << 20


def _as_the_field_knows_it(name: str) -> AliasChoices:
    return AliasChoices(name, name.lower())


class Settings(BaseSettings):
    """The configuration of one backend."""

    model_config = SettingsConfigDict(env_prefix="PAM_STUDIO_", extra="forbid", frozen=True)

    host: str = Field("127.0.0.1", description="Address the backend listens on.")
    port: int = Field(9090, ge=1, le=65535, description="Port the backend listens on.")
    data_dir: Path = Field(Path("data"), description="Folder of the ledger; created when missing.")
    model: str = Field(
        "nano",
        description="`nano`, the folder of a checkpoint, or a Hugging Face id such as `Perceive-Anything/PAM-3B`.",
    )
    device: str = Field("cpu", description="Where the model runs: `cpu`, `cuda`, `cuda:1`, `mps`.")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="What the model computes in: `auto`, `float32`, `bfloat16`, `float16`. `auto` is `float32` on a "
        "CPU and for `nano`, else `bfloat16`.",
    )
    threads: int = Field(1, ge=1, description="CPU threads of the model. More can be slower on a busy machine.")
    language: Literal["en", "zh"] = Field("en", description="Of the words: `en` or `zh`. Nano speaks English only.")
    caption: Literal["brief", "detailed"] = Field("brief", description="Style of captions: `brief` or `detailed`.")
    max_new_tokens: int = Field(512, ge=1, le=4096, description="Longest answer, in tokens.")
    temperature: float = Field(
        0.0, ge=0, le=10, description="Of the words: 0 always says the likeliest, more is more varied."
    )
    top_p: float = Field(
        1.0, gt=0, le=1, description="With a temperature: drawn from the likeliest words that have this probability."
    )
    memory: bool = Field(
        True,
        description="Whether what annotators called a region is suggested for its like, in the same project, at once.",
    )
    promotion_regions: int = Field(
        20,
        ge=1,
        description="Held-out regions that a newly trained model must have been judged on before it may take over.",
    )
    models_kept: int = Field(
        10,
        ge=2,
        description="Trained models that are kept, each as large as the first one; the oldest that do not answer go.",
    )
    most_regions: int = Field(24, ge=1, le=1000, description="Most regions of an image that are found without a click.")
    nested: bool = Field(True, description="Whether objects that lie in other objects are found without a click, too.")
    points_per_side: int = Field(
        32, ge=1, le=128, description="Of the grid of points that models other than `nano` are asked with for that."
    )
    preannotate_opened: bool = Field(
        False,
        description="Whether a task that is opened without predictions gets regions at once. Label Studio asks for one "
        "task by *Retrieve predictions* in the same words.",
    )
    label_studio_url: str | None = Field(
        None,
        validation_alias=_as_the_field_knows_it("LABEL_STUDIO_URL"),
        description="Label Studio's address as the backend reaches it; "
        "by default what Label Studio says of itself in `/setup`.",
    )
    label_studio_api_key: SecretStr | None = Field(
        None,
        validation_alias=_as_the_field_knows_it("LABEL_STUDIO_API_KEY"),
        description="Legacy token or Personal Access Token; sent to `LABEL_STUDIO_URL` only. "
        "By default the legacy token that Label Studio hands over in `/setup`.",
    )
    basic_auth_user: str | None = Field(
        None, description="User name that clients must give (HTTP Basic); off when empty."
    )
    basic_auth_password: SecretStr | None = Field(None, description="Password to `basic_auth_user`.")
    max_request_bytes: int = Field(64 * MIB, ge=1024, description="Largest request body.")
    max_image_bytes: int = Field(100 * MIB, ge=1024, description="Largest image file.")
    max_image_pixels: int = Field(100_000_000, ge=1, description="Largest image, in pixels.")
    image_timeout: float = Field(30.0, gt=0, description="Seconds that fetching one image may take.")
    cache_bytes: int = Field(512 * MIB, ge=0, description="Memory for encoded images, kept by content.")
    predict_timeout: float = Field(
        90.0, gt=0, description="Seconds a click may wait for its turn (Label Studio gives up after 100)."
    )
    journal_bytes: int = Field(
        256 * MIB,
        ge=0,
        description="How much of what webhooks brought the ledger keeps verbatim; the oldest goes first.",
    )
    consensus: Literal["all", "latest", "ground_truth", "agreement"] = Field(
        "all",
        description="Whose regions count where several annotators did one task: `all`, the `latest` annotation's, "
        "those marked as `ground_truth`, or, for `agreement`, those that most annotators drew.",
    )
    consensus_iou: float = Field(
        0.5, gt=0, le=1, description="How much two masks must overlap to be one object, for `agreement`."
    )
    polygon_tolerance: float = Field(
        1.0, ge=0, description="How far, in pixels, a simplified polygon may leave the mask's edge."
    )
    video_seconds: float = Field(
        20.0, gt=0, le=90, description="Seconds after which an answer about a video shows what is followed by then."
    )
    video_frames: int = Field(
        20_000, ge=1, description="Frames that an object is followed through from a box, each way; then box it again."
    )
    video_tolerance: float = Field(1.5, ge=0, description="How far, in pixels, a box between two keyframes may be off.")
    video_event_seconds: float = Field(
        8.0,
        ge=0,
        description="Longest part of a video with a caption of its own, where the config has a timeline; 0 for none.",
    )
    video_rate: float = Field(
        6.0, gt=0, le=1000, description="Frames each second of a video that go into the data set, at least 16 in all."
    )
    max_video_bytes: int = Field(4096 * MIB, ge=1024, description="Largest video file.")
    video_timeout: float = Field(300.0, gt=0, description="Seconds that fetching one video may take.")
    video_cache_bytes: int = Field(
        8192 * MIB, ge=0, description="Disk for fetched videos, in the data folder; the one used last always stays."
    )
    out: Path = Field(Path("data/regions"), description="Folder of the data set that exports make.")
    every: str | None = Field(
        None,
        pattern=r"^[1-9]\d{0,5}[smhd]$",
        description="How often `serve` exports: `30m`, `2h`, `1d`; never when empty.",
    )
    formats: str = Field(
        "pam_jsonl,coco,parquet,webdataset,yolo,video", description="Formats of the data set, separated by commas."
    )
    validation: float = Field(0.1, ge=0, le=1, description="Share of the data set's images that validate.")
    categories: Path | None = Field(
        None, description="YAML file that gives one name to the many ways to write a category."
    )
    train_every: int = Field(
        0,
        ge=0,
        description="`serve` starts a training after so many annotations that were submitted or changed since the "
        "last one; never when 0.",
    )
    train_at: str | None = Field(
        None,
        description="When `serve` starts a training, as in a crontab, by the machine's clock: `30 2 * * mon-fri`; not "
        "where nothing was annotated since the last one.",
    )
    train_steps: int | None = Field(None, ge=1, description="Steps of a training; by default as many as suit the data.")
    train_masks: bool = Field(
        False, description="Whether a training is also about masks, from corrected ones; it takes longer."
    )
    train_threads: int = Field(1, ge=1, description="CPU threads of a training. Clicks need the others.")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="`DEBUG`, `INFO`, `WARNING` or `ERROR`."
    )

    @field_validator("log_level", mode="before")
    @classmethod
    def _in_capitals(cls, level: object) -> object:
        return level.upper() if isinstance(level, str) else level

    @field_validator("train_at")
    @classmethod
    def _is_a_crontab(cls, given: str | None) -> str | None:
        fields = (given or "").split()
        if not fields:
            return None
        if len(fields) == 5 and re.search(r"\d", fields[-1]):  # APScheduler counts from Monday, crontabs from Sunday
            raise ValueError(f"train_at {given!r} counts its weekdays: write them as `mon`, `tue-fri` or `*`")
        from apscheduler.triggers.cron import CronTrigger  # only now: few commands need it

        try:
            CronTrigger.from_crontab(" ".join(fields))
        except ValueError as error:
            raise ValueError(f"train_at {given!r} is no crontab, such as `30 2 * * *`: {error}") from error
        return given

    @model_validator(mode="after")
    def _user_has_a_password(self) -> Settings:
        if self.basic_auth_user and not (self.basic_auth_password and self.basic_auth_password.get_secret_value()):
            raise ValueError("basic_auth_user needs a basic_auth_password")
        return self
