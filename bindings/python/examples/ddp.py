"""Data parallelism: two processes train one GAIT network by DistributedDataParallel.

    python ddp.py
    torchrun --nproc-per-node 2 ddp.py

Every process takes its share of a batch. torch averages the gradients, which is all that a step
moves between processes: GAIT's inverses stay local. The ranks hold the same weights, bit for bit;
another number of processes adds samples in another order.
"""

import os
import tempfile

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn
from torch.nn.parallel import DistributedDataParallel

from gaitprop.torch import GaitNet, PublishedAdam

STEPS, BATCH, WIDTH, CLASSES = 100, 64, 64, 10


def samples() -> tuple[torch.Tensor, torch.Tensor]:
    """Return noisy copies of ten random patterns, and their labels."""
    generator = torch.Generator().manual_seed(3)
    patterns = torch.rand(CLASSES, WIDTH, generator=generator)
    labels = torch.randint(0, CLASSES, (STEPS, BATCH), generator=generator)
    noise = 0.3 * torch.randn(STEPS, BATCH, WIDTH, generator=generator)
    return patterns[labels] + noise, labels


def train(rank: int, world: int) -> None:
    """Train on this rank's share of every batch."""
    torch.set_num_threads(1)
    torch.manual_seed(1)
    net = GaitNet([WIDTH] * 4, output_activation="identity")
    parallel = DistributedDataParallel(net)
    optimizer = PublishedAdam(net.parameters(), lr=1e-3)
    for step, (x, labels) in enumerate(zip(*samples(), strict=True)):
        x, labels = x[rank::world], labels[rank::world]
        optimizer.zero_grad()
        output = parallel(x)[:, :CLASSES]
        loss = torch.nn.functional.cross_entropy(output, labels)
        loss.backward()
        optimizer.step()
        if rank == 0 and (step + 1) % 25 == 0:
            right = float((output.argmax(1) == labels).float().mean())
            print(f"step {step + 1}: loss {loss:.3f}, right {100 * right:.0f} %", flush=True)
    mine = torch.cat([p.detach().flatten() for p in net.parameters()])
    others = [torch.empty_like(mine) for _ in range(world)]
    dist.all_gather(others, mine)
    if rank == 0:
        same = all(torch.equal(mine, other) for other in others)
        print("all ranks hold the same bits" if same else "the ranks differ")


def worker(rank: int, world: int, meeting: str) -> None:
    """Run one of the processes that this script started. They find each other by a file."""
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=world)
    train(rank, world)
    dist.destroy_process_group()


def main() -> None:
    """Join torchrun's processes, or start two."""
    if "RANK" in os.environ:
        dist.init_process_group("gloo")
        train(dist.get_rank(), dist.get_world_size())
        dist.destroy_process_group()
        return
    with tempfile.TemporaryDirectory() as folder:
        spawn(worker, args=(2, f"file://{folder}/meeting"), nprocs=2)


if __name__ == "__main__":
    main()
