"""One step of training with the weights shared among the processes of torchrun: loss and weights, to a file.

python -m torch.distributed.run --nproc-per-node N tests/model/training/finetune/sharded.py BASE DATA OUT
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed.checkpoint.state_dict import get_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

import model
from model.training.finetune import learner, parts
from model.training.finetune.items import Sight
from model.training.finetune.loop import WHOLE
from model.training.finetune.records import read_split
from model.training.finetune.steps import Items, Plan


def main(base: str, data: str, out: str) -> None:
    """With one process, nothing is shared."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    pam, regions = model.load(base), read_split(Path(data), "train").regions
    learns, _ = parts.words(pam, 0, ())
    sight = Sight.of(pam.config, pam.image_size)
    items = Items(Plan(0, 1, len(regions), 4, 0), regions, pam.tokenizer, sight, rank, world)[0]
    if world > 1:
        mesh = init_device_mesh("cpu", (world,))
        for part in (*pam.language.model.layers, learns):
            fully_shard(part, mesh=mesh)
    optimizer = torch.optim.SGD([p for p in learns.parameters() if p.requires_grad], 0.1)
    loss, _ = learns(items, dict.fromkeys(learner.KINDS, 0.01 * world))
    loss.backward()
    optimizer.step()
    weights, _ = get_state_dict(learns, optimizer, options=WHOLE)
    total = loss.detach().clone()
    dist.all_reduce(total)
    if rank == 0:
        torch.save({"loss": float(total) / world, "weights": weights}, out)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
