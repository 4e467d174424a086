"""Data parallelism by torch's own DistributedDataParallel."""

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
dist = pytest.importorskip("torch.distributed")
if not (dist.is_available() and dist.is_gloo_available()):
    pytest.skip("this PyTorch has no gloo", allow_module_level=True)

from gaitprop.torch import GaitNet, PublishedAdam  # noqa: E402

STEPS, BATCH, CLASSES = 3, 16, 4


def data() -> Any:
    generator = torch.Generator().manual_seed(5)
    x = torch.rand(STEPS, BATCH, 24, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, CLASSES, (STEPS, BATCH), generator=generator)
    return x, torch.nn.functional.one_hot(labels, CLASSES).double()


def network(rule: Any) -> Any:
    torch.manual_seed(7)
    classes = CLASSES if rule == "dfa" else None
    net = GaitNet([24, 24, 24, 12], rule=rule, classes=classes, solver="lu", gamma=0.1)
    return net.double()


def train(net: Any, parameters: Any, part: Any) -> None:
    optimizer = PublishedAdam(parameters, lr=1e-3)
    for x, onehot in zip(*data(), strict=True):
        x, onehot = x[part], onehot[part]
        optimizer.zero_grad()
        (0.5 * (net(x)[:, :CLASSES] - onehot).square().sum() / len(x)).backward()
        optimizer.step()


def _worker(rank: Any, rule: Any, folder: Any) -> None:
    torch.set_num_threads(1)
    meeting = f"file://{folder}/meeting"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    net = network(rule)
    parallel = torch.nn.parallel.DistributedDataParallel(net)
    train(parallel, net.parameters(), slice(rank, None, 2))
    torch.save(net.state_dict(), folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("rule", ["gait", "dfa"])
def test_two_processes_train_as_one(rule: Any, tmp_path: Any) -> None:
    context = torch.multiprocessing.start_processes(
        _worker, (rule, tmp_path), nprocs=2, join=False, start_method="spawn"
    )
    try:
        assert context.join(timeout=240) or context.join(timeout=60)
    finally:
        for process in context.processes:
            process.kill()
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1))
    alone = network(rule)
    train(alone, alone.parameters(), slice(None))
    for name, value in alone.state_dict().items():
        # Both ranks hold the same bits; one process adds samples in another order.
        assert torch.equal(first[name], second[name])
        torch.testing.assert_close(first[name], value, rtol=1e-9, atol=1e-11)
