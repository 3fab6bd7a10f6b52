"""Make nano from nothing: `python -m model.training.nano`."""

from __future__ import annotations

import json
import platform
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import torch
import typer

from model.checkpoints import CONFIG, NANO, TOKENIZER, WEIGHTS, load, load_tokenizer, save
from model.config import PAMConfig, PerceiverConfig, SamConfig
from model.pam import PAM
from model.training.calibration import collect, fit_temperature
from model.training.data import SceneBatches, batches
from model.training.evaluation import evaluate
from model.training.loop import console, train
from model.training.scenes import DATA_VERSION
from model.training.segmentation import SegmentationStage
from model.training.words import WordStage, train_tokenizer

IMAGE, WIDTH, VOCABULARY = 256, 96, 768

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
        languages=("en",),
    )


def main(
    out: Annotated[Path, typer.Option(help="Folder of the finished checkpoint.")] = NANO,
    work: Annotated[Path, typer.Option(help="Folder for progress; a run that was killed goes on from there.")] = Path(
        "runs/nano"
    ),
    seed: Annotated[int, typer.Option(help="Decides weights, scenes and prompts.")] = 0,
    mask_steps: Annotated[int, typer.Option(help="Steps of stage one, SAM 2.")] = 3500,
    word_steps: Annotated[int, typer.Option(help="Steps of stage two, the language side.")] = 2500,
    images: Annotated[int, typer.Option(help="Images a step.")] = 8,
    objects: Annotated[int, typer.Option(help="Objects an image.")] = 4,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
    workers: Annotated[int, typer.Option(help="Processes that draw scenes.")] = 1,
    eval_scenes: Annotated[int, typer.Option(help="Held-out scenes of the final evaluation.")] = 150,
) -> None:
    """Train nano on scenes drawn on the fly: first SAM 2, then, with SAM 2 frozen, the language side."""
    torch.set_num_threads(threads)
    work.mkdir(parents=True, exist_ok=True)
    claim(
        work,
        {"seed": seed, "mask_steps": mask_steps, "word_steps": word_steps, "images": images, "objects": objects},
    )
    train_tokenizer(seed, scenes=1500, vocabulary=VOCABULARY).save(str(work / TOKENIZER))
    tokenizer = load_tokenizer(work / TOKENIZER)
    torch.manual_seed(seed)
    pam = PAM(nano_config(len(tokenizer)), tokenizer)
    untrained = work / "untrained"
    save(pam, untrained, {})

    console.rule("stage one: SAM 2 learns to segment")
    scenes = SceneBatches(seed, mask_steps, images, objects, IMAGE, rough_share=0.8)
    pam.train()
    masks, mask_seconds = train(
        SegmentationStage(pam.sam),
        lambda start: batches(scenes, start, workers),
        lambda stage, batch, step: stage(batch, step / mask_steps),
        mask_steps,
        work / "masks.pt",
    )
    console.rule("stage two: words")
    pam.sam.eval().requires_grad_(False)
    scenes = SceneBatches(seed + 1, word_steps, images, objects, IMAGE, rough_share=1.0)
    words, word_seconds = train(
        WordStage(pam, seed),
        lambda start: batches(scenes, start, workers),
        lambda stage, batch, step: stage(batch, step),
        word_steps,
        work / "words.pt",
    )
    trained = work / "trained"
    about = {
        "command": f"python -m model.training.nano --seed {seed} --mask-steps {mask_steps} --word-steps {word_steps} "
        f"--images {images} --objects {objects}",
        "seed": seed,
        "data": DATA_VERSION,
        "torch": torch.__version__,
        "machine": f"{platform.machine()}, {threads} thread(s)",
        "minutes": round((mask_seconds + word_seconds) / 60, 1),
    }
    save(pam, trained, about)
    console.rule("held-out scenes")
    about["figures"] = {
        "trained": evaluate(load(trained), seed + 2, eval_scenes),
        "untrained": evaluate(load(untrained), seed + 2, eval_scenes),
    }
    console.print_json(json.dumps(about["figures"]))
    trials = collect(load(trained), seed + 3, eval_scenes)
    temperature = fit_temperature(trials.log_likelihoods, trials.truth)
    pam.config = replace(pam.config, label_temperature=round(temperature, 3))
    save(pam, trained, about)
    (work / "history.json").write_text(json.dumps({"masks": masks, "words": words}))
    out.mkdir(parents=True, exist_ok=True)
    for name in (CONFIG, WEIGHTS, TOKENIZER):
        shutil.copy(trained / name, out / name)
    console.print(f"{out}: {(out / WEIGHTS).stat().st_size / 1e6:.1f} MB of weights")


def claim(work: Path, arguments: dict[str, int]) -> None:
    """Mark a folder of progress as that of a run with these arguments.

    Raises typer.BadParameter when it holds another run's: going on from that would give what neither run would.
    """
    path = work / "arguments.json"
    if path.exists() and (other := json.loads(path.read_text())) != arguments:
        raise typer.BadParameter(f"{work} holds a run with {other}, not {arguments}: choose another --work")
    path.write_text(json.dumps(arguments))


if __name__ == "__main__":
    typer.run(main)
