"""Make nano from nothing: `pam-studio train-nano`, or `python -m model.training.nano`."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from torch import nn

from model.checkpoints import CONFIG, NANO, TOKENIZER, WEIGHTS, load, load_tokenizer, save
from model.config import PAMConfig, PerceiverConfig, SamConfig
from model.pam import PAM
from model.region import FIELDS
from model.training import reliability
from model.training.calibration import collect, fit_temperature
from model.training.clip_data import ClipBatches
from model.training.clips import CLIPS_VERSION
from model.training.closeness import CloseUpStage
from model.training.curves import draw_curves
from model.training.data import Drawn, SceneBatches, Series, batches
from model.training.evaluation import attempt, calibrated, confidence, figures, held_out
from model.training.loop import console, train
from model.training.scenes import DATA_VERSION
from model.training.segmentation import SegmentationStage
from model.training.shapes import UNKNOWN
from model.training.telling import ClipStage
from model.training.words import WordStage, train_tokenizer

IMAGE, CLOSE_UP, WIDTH, VOCABULARY = 256, 128, 96, 768
HISTORY = "history.json"
STILLS = 2
"""Pictures of still scenes in each step about clips."""

MEASURED_ON, CALIBRATED_ON = 1_000_002, 1_000_003
"""Seeds of the scenes that no run draws for training."""

STAGES: dict[str, Callable[[PAM], nn.Module]] = {
    "masks": SegmentationStage,
    "close-ups": CloseUpStage,
    "words": WordStage,
    "clips": ClipStage,
}
SPEAKING = ("words", "clips")

SAM_OVERRIDES = (
    f"model.image_size={IMAGE}",
    "model.image_encoder.trunk.embed_dim=24",
    "model.image_encoder.trunk.stages=[1,2,3,1]",
    "model.image_encoder.trunk.global_att_blocks=[4,5]",
    "+model.image_encoder.trunk.window_spec=[8,4,8,8]",
    "model.image_encoder.trunk.window_pos_embed_bkg_spatial_size=[8,8]",
    f"model.image_encoder.neck.position_encoding.num_pos_feats={WIDTH}",
    f"model.image_encoder.neck.d_model={WIDTH}",
    "model.image_encoder.neck.backbone_channel_list=[192,96,48,24]",
    f"model.memory_attention.d_model={WIDTH}",
    "model.memory_attention.num_layers=1",
    "model.memory_attention.layer.dim_feedforward=256",
    f"model.memory_attention.layer.d_model={WIDTH}",
    f"model.memory_attention.layer.self_attention.embedding_dim={WIDTH}",
    f"model.memory_attention.layer.self_attention.feat_sizes=[{IMAGE // 16},{IMAGE // 16}]",
    f"model.memory_attention.layer.cross_attention.embedding_dim={WIDTH}",
    f"model.memory_attention.layer.cross_attention.feat_sizes=[{IMAGE // 16},{IMAGE // 16}]",
    "model.memory_attention.layer.cross_attention.kv_in_dim=32",
    "model.memory_encoder.out_dim=32",
    f"+model.memory_encoder.in_dim={WIDTH}",
    "model.memory_encoder.position_encoding.num_pos_feats=32",
    f"+model.memory_encoder.mask_downsampler.embed_dim={WIDTH}",
    f"model.memory_encoder.fuser.layer.dim={WIDTH}",
)


def nano_config(vocabulary: int) -> PAMConfig:
    """PAM at a size that fits into the repository."""
    return PAMConfig(
        name="nano",
        sam=SamConfig("sam2.1_hiera_t", SAM_OVERRIDES, decoder_mlp=384),
        perceiver=PerceiverConfig(mlp=384),
        language={
            "vocab_size": vocabulary,
            "hidden_size": 160,
            "intermediate_size": 480,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 1024,
            "rms_norm_eps": 1e-6,
            "rope_theta": 10000.0,
            "tie_word_embeddings": True,
        },
        proposals=True,
        close_up=CLOSE_UP,
        unknown=UNKNOWN,
        languages=("en",),
    )


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    out: Annotated[Path, typer.Option(help="Folder of the finished checkpoint.")] = NANO,
    work: Annotated[Path, typer.Option(help="Folder for progress; a run that was killed goes on from there.")] = Path(
        "runs/nano"
    ),
    begin: Annotated[
        Path | None, typer.Option(help="Folder of a nano whose weights replace fresh ones and stage one.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides weights, scenes and prompts.")] = 0,
    mask_steps: Annotated[int, typer.Option(help="Steps of stage one, masks; none with --begin.")] = 3500,
    close_steps: Annotated[int, typer.Option(help="Steps of stage two, close-ups.")] = 1800,
    word_steps: Annotated[int, typer.Option(help="Steps of stage three, words.")] = 1900,
    clip_steps: Annotated[int, typer.Option(help="Steps of stage four, clips.")] = 1500,
    images: Annotated[int, typer.Option(help="Images a step.")] = 4,
    objects: Annotated[int, typer.Option(help="Objects an image.")] = 5,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
    workers: Annotated[int, typer.Option(help="Processes that draw scenes.")] = 1,
    eval_scenes: Annotated[int, typer.Option(help="Held-out scenes of the final evaluation.")] = 400,
    device: Annotated[str, typer.Option(help="Where to train, such as cpu or cuda.")] = "cpu",
) -> None:
    """Train nano on scenes drawn on the fly: masks, then close-ups, then words, then clips.

    Afterwards the folder of progress holds curves.png, reliability.png, history.json and the checkpoint, whose
    config.json says how it was made and what it reached on scenes that were not trained on.
    """
    torch.set_num_threads(threads)
    steps = {"masks": 0 if begin else mask_steps, "close-ups": close_steps, "words": word_steps, "clips": clip_steps}
    claim(work, {"seed": seed, **steps, "images": images, "objects": objects, "begin": str(begin)})
    pam = beginning(begin, work, seed)
    save(pam, work / "untrained", {})
    if begin:
        pam.load_state_dict(load(begin).state_dict())
    pam.to(device)
    history: dict[str, list[dict]] = {}
    seconds = 0.0
    for number, (name, stage) in enumerate(STAGES.items()):
        if not steps[name]:
            continue
        console.rule(f"{name}: {steps[name]} steps")
        # Words are said of masks that were proposed; masks must be found without a proposal too.
        rough = 1.0 if name in SPEAKING else 0.8
        series = Series(10 * seed + number, steps[name], images, objects, IMAGE, CLOSE_UP, rough)
        drawn: Drawn[Any] = ClipBatches(replace(series, images=STILLS)) if name == "clips" else SceneBatches(series)
        history[name], spent = train(
            stage(pam).to(device),
            partial(batches, drawn, workers=workers),
            steps[name],
            work / f"{name}.pt",
        )
        seconds += spent
    about = {
        "command": "python -m model.training.nano "
        + " ".join(f"--{key} {value}" for key, value in given(begin, seed, steps, images, objects).items()),
        "seed": seed,
        "data": f"{DATA_VERSION}, {CLIPS_VERSION}",
        "torch": torch.__version__,
        "machine": f"{platform.machine()}, {device}, {threads} thread(s)",
        "minutes": round(seconds / 60, 1),
    }
    (work / HISTORY).write_text(json.dumps(history))
    draw_curves(history, work / "curves.png")
    finish(pam.cpu().eval(), about, work, eval_scenes)
    out.mkdir(parents=True, exist_ok=True)
    for name in (CONFIG, WEIGHTS, TOKENIZER):
        shutil.copy(work / "trained" / name, out / name)
    console.print(f"{out}: {(out / WEIGHTS).stat().st_size / 1e6:.1f} MB of weights")


def given(begin: Path | None, seed: int, steps: dict[str, int], images: int, objects: int) -> dict[str, object]:
    """What the command line must say to have the same run."""
    start: dict[str, object] = {"begin": begin} if begin else {"mask-steps": steps["masks"]}
    rest = {"close-steps": steps["close-ups"], "word-steps": steps["words"], "clip-steps": steps["clips"]}
    return {"seed": seed, **start, **rest, "images": images, "objects": objects}


def beginning(begin: Path | None, work: Path, seed: int) -> PAM:
    """A nano with fresh weights, and a tokenizer of its own or that of another nano."""
    if begin:
        tokenizer = load(begin).tokenizer
    else:
        train_tokenizer(seed, scenes=1500, vocabulary=VOCABULARY).save(str(work / TOKENIZER))
        tokenizer = load_tokenizer(work / TOKENIZER)
    torch.manual_seed(seed)
    return PAM(nano_config(len(tokenizer)), tokenizer)


def finish(pam: PAM, about: dict[str, Any], work: Path, scenes: int) -> None:
    """Calibrate the scores, measure what was reached on held-out scenes, and keep both with the checkpoint."""
    trained = work / "trained"
    save(pam, trained, about)
    console.rule("scores")
    pam.config = replace(pam.config, calibration=calibrated(load(trained), CALIBRATED_ON, scenes))
    listed = collect(load(trained), CALIBRATED_ON, scenes)
    temperature = fit_temperature(listed.log_likelihoods, listed.truth)
    pam.config = replace(pam.config, label_temperature=round(temperature, 3))
    save(pam, trained, about)
    console.rule("held-out scenes")
    trials = attempt(load(trained), held_out(MEASURED_ON, scenes))
    about["figures"] = {
        "trained": figures(trials),
        "untrained": figures(attempt(load(work / "untrained"), held_out(MEASURED_ON, max(1, scenes // 4)))),
    }
    console.print_json(json.dumps(about["figures"]))
    save(pam, trained, about)
    reliability.draw({field: confidence(trials, field) for field in FIELDS}, work / "reliability.png")


def claim(work: Path, arguments: dict[str, Any]) -> None:
    """Mark a folder of progress as that of a run with these arguments.

    Raises typer.BadParameter when it holds another run's: going on from that would give what neither run would.
    """
    work.mkdir(parents=True, exist_ok=True)
    path = work / "arguments.json"
    if path.exists() and (other := json.loads(path.read_text())) != arguments:
        raise typer.BadParameter(f"{work} holds a run with {other}, not {arguments}: choose another --work")
    path.write_text(json.dumps(arguments))


if __name__ == "__main__":
    app()
