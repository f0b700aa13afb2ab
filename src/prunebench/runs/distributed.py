"""One job on several processes, each with a GPU of its own: all that is known of processes lies here.

torchrun starts them and names them in the environment. Every process holds the whole network, its masks and the
state of its update, trains on its part of every batch, and reads the same files; the first one (rank 0) alone writes.
Between two updates all hold the same bytes, so that each may prune, probe and decide for itself.
"""

import hashlib
import os
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from typing import NoReturn

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from prunebench.errors import InputError
from prunebench.models.batch_norm import buffers_kept
from prunebench.seeding import global_draws

ASK_EVERY = 1.0
"""Seconds between two times at which the processes agree whether to save or stop, which takes a millisecond [ours]."""


class Processes:
    """The processes of a job; this class is the one that is alone, which has nothing to share and nobody to ask.

    rank: which of them this is, from 0. size: how many there are. local_rank: the number of its GPU on its machine;
    None: any.
    """

    rank, size = 0, 1
    local_rank: int | None = None

    def check_batch(self, batch_size: int) -> None:
        """Raises InputError where batches cannot be split into equal parts of two images or more."""

    def check_alone(self, job: str) -> None:
        """Raises InputError where there are several: the job, named by its folder, cannot be split."""

    @property
    def part(self) -> tuple[int, int]:
        """This process's part of every batch: the images at rank, rank + size, ..."""
        return self.rank, self.size

    def parallel(self, model: nn.Module, image: Sequence[int]) -> nn.Module:
        """What trains the model, with gradients that are means over the processes. image: its shape, (C, H, W)."""
        return model

    def gradients(self, loss: Tensor, parameters: list[Tensor]) -> list[Tensor]:
        """Gradients of a loss of the network that `parallel` gave."""
        return list(torch.autograd.grad(loss, parameters))

    def add_(self, *tensors: Tensor) -> None:
        """Replaces each tensor by its sum over the processes."""

    def copy_first_(self, tensors: Iterable[Tensor]) -> None:
        """Replaces each tensor by that of the first process."""

    def gather(self, number: Tensor) -> Tensor:
        """A tensor () of every process, as (size,)."""
        return number[None]

    def decide(self, stop: int, late: bool, every: float) -> tuple[int, bool]:
        """What all do, asked by each before every update: the largest `stop` of any, and the first one's `late`.

        They ask one another every `every` seconds, at most ASK_EVERY, and between these times the answer is no.
        """
        return stop, late

    def check_same(self, what: str, *contents: Mapping[str, Tensor] | str) -> None:
        """Raises InputError unless all processes hold the same bytes of tensors and text."""

    def wait(self) -> None:
        """Until all are here."""


ALONE = Processes()


class Several(Processes):
    """The processes of torch's default group, which this one has joined."""

    def __init__(self) -> None:
        self.rank, self.size = dist.get_rank(), dist.get_world_size()
        self.local_rank = _local_rank() if torch.cuda.is_available() else None
        self._calls = self._left = 1
        self._asked = time.monotonic()

    def refuse(self, line: str) -> NoReturn:
        """Ends all processes by what each of them has found: the line is said once."""
        if self.rank == 0:
            raise InputError(line)
        raise SystemExit(2)

    def check_batch(self, batch_size: int) -> None:
        if batch_size % self.size or batch_size < 2 * self.size:
            allowed = f"allowed: multiples of {self.size}, of two images per process or more"
            self.refuse(f"batch_size {batch_size} cannot be split over {self.size} processes; {allowed}")

    def check_alone(self, job: str) -> None:
        self.refuse(f"job {job} trains no arms, so {self.size} processes cannot share it: start it without torchrun")

    def parallel(self, model: nn.Module, image: Sequence[int]) -> nn.Module:
        # Buffers are not its concern: they are the first process's after every update, not only in forward passes.
        with warnings.catch_warnings():  # torch 2.13 renames the argument; 2.6 has the old name alone
            warnings.simplefilter("ignore", FutureWarning)
            network = DistributedDataParallel(model, broadcast_buffers=False)
        # It sorts gradients into buckets anew before its second forward pass, and the place in a bucket decides the
        # order in which processes are added up. A resumed job must not round its first update otherwise.
        parameters: list[Tensor] = list(model.parameters())
        images = parameters[0].new_zeros((2, *image))
        with buffers_kept(model), global_draws(images.device):
            self.gradients(network(images).sum(), parameters)
        return network

    def gradients(self, loss: Tensor, parameters: list[Tensor]) -> list[Tensor]:
        loss.backward()
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        if len(gradients) < len(parameters):
            self.refuse("the network has parameters that take no part in its output; several processes cannot train it")
        for parameter in parameters:
            parameter.grad = None
        return gradients

    def add_(self, *tensors: Tensor) -> None:
        for tensor in tensors:
            dist.all_reduce(tensor)

    @torch.no_grad()
    def copy_first_(self, tensors: Iterable[Tensor]) -> None:
        kinds: dict[torch.dtype, list[Tensor]] = {}
        for tensor in tensors:
            kinds.setdefault(tensor.dtype, []).append(tensor)
        for same in kinds.values():
            flat = torch.cat([tensor.reshape(-1) for tensor in same])
            dist.broadcast(flat, 0)
            parts = flat.split([tensor.numel() for tensor in same])
            torch._foreach_copy_(same, [part.view(tensor.shape) for part, tensor in zip(parts, same, strict=True)])

    def gather(self, number: Tensor) -> Tensor:
        numbers = [torch.empty_like(number) for _ in range(self.size)]
        dist.all_gather(numbers, number)
        return torch.stack(numbers)

    def decide(self, stop: int, late: bool, every: float) -> tuple[int, bool]:
        self._left -= 1
        if self._left:
            return 0, False
        now = time.monotonic()
        calls = self._calls * min(every, ASK_EVERY) / max(now - self._asked, 1e-9)
        first = self.rank == 0
        # On the CPU, so that no GPU is waited for.
        answer = torch.tensor([stop, late and first, max(1, min(int(calls), 2 * self._calls)) if first else 0])
        dist.all_reduce(answer, dist.ReduceOp.MAX)
        stop, late, self._calls = answer.tolist()
        self._left, self._asked = self._calls, now
        return stop, bool(late)

    def check_same(self, what: str, *contents: Mapping[str, Tensor] | str) -> None:
        mine = torch.frombuffer(bytearray.fromhex(digest_of_contents(contents)), dtype=torch.uint8)
        digests = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(digests, mine)
        other = next((rank for rank, digest in enumerate(digests) if not torch.equal(digest, digests[0])), None)
        if other is not None:
            allowed = "all need the same files, code and kind of hardware"
            self.refuse(f"{what}: process {other} differs from process 0; {allowed}")

    def wait(self) -> None:
        dist.all_reduce(torch.zeros(1))


def digest_of_contents(contents: Iterable[Mapping[str, Tensor] | str]) -> str:
    """SHA-256, in hexadecimal, over texts and tensors with their names, in the order in which they come."""
    digest = hashlib.sha256()
    for content in contents:
        if isinstance(content, str):
            digest.update(content.encode())
            continue
        for name, tensor in content.items():
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
            digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


@contextmanager
def joined() -> Iterator[Processes]:
    """Joins the processes that torchrun started; ALONE where it started one, or did not start this.

    The output of all but the first goes nowhere; errors do not. A group that the caller has joined already stays.
    Raises InputError where a machine has fewer GPUs than processes.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ or os.environ.get("WORLD_SIZE") == "1":
        yield ALONE
        return
    if dist.is_initialized():
        yield Several()
        return
    if torch.cuda.is_available():
        if _local_rank() >= torch.cuda.device_count():
            found = f"process {_local_rank() + 1} of this machine finds {torch.cuda.device_count()} GPUs"
            raise InputError(f"{found}; allowed: --nproc-per-node up to that number")
        torch.cuda.set_device(_local_rank())
        dist.init_process_group("cpu:gloo,cuda:nccl")
    else:
        dist.init_process_group("gloo")
    processes = Several()
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere if processes.rank else sys.stdout):
        yield processes
    # Not after an error: others may be waiting for this process, and it would wait for them.
    dist.destroy_process_group()


def _local_rank() -> int:
    return int(os.environ["LOCAL_RANK"])
