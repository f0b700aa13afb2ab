"""Does this machine compute the bytes that others do? Digests of every kind of number that a job makes.

    python benchmarks/portable.py              # pinned as jobs are: compares with benchmarks/portable.json
    python benchmarks/portable.py --native     # this machine's own way
    python benchmarks/portable.py --write      # keeps what this machine gives
    qemu-x86_64 -cpu Haswell .venv/bin/python benchmarks/portable.py   # another CPU, emulated: about 6 minutes

Digests are of one build of the libraries, so portable.json names their versions. See docs/portable.md.
"""

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from prunebench.runs import numerics

KEPT = Path(__file__).with_suffix(".json")

CONVOLUTIONS = (
    (1, 16, 3, 2, 16),
    (3, 16, 3, 1, 16),
    (16, 16, 3, 1, 16),
    (16, 32, 1, 2, 16),
    (32, 64, 3, 2, 8),
    (64, 256, 1, 1, 8),
)
"""Channels in and out, side of the kernel, stride, side of the images."""

LINEAR = ((64, 10, 64), (256, 300, 64), (300, 100, 64), (100, 10, 128))
"""Features in and out, images."""


def digest(arrays: Iterable[Any]) -> str:
    """The first 8 digits of a SHA-256 over the arrays' bytes."""
    import numpy as np

    whole = hashlib.sha256()
    for array in arrays:
        whole.update(np.ascontiguousarray(array.detach().contiguous().numpy() if hasattr(array, "detach") else array))
    return whole.hexdigest()[:8]


def torch_parts() -> dict[str, list[Any]]:
    """What networks are made of, forward and backward, and what analyses call."""
    import torch
    from torch import Tensor, nn
    from torch.nn import functional as F

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        values = torch.randn(*shape, generator=generator)
        return values.contiguous(memory_format=torch.channels_last) if len(shape) == 4 else values

    def both(call: Callable[..., Tensor], *inputs: Tensor) -> list[Tensor]:
        leaves = [each.requires_grad_() for each in inputs]
        out = call(*leaves)
        return [out, *torch.autograd.grad(out, leaves, draw(*out.shape))]

    parts: dict[str, list[Any]] = {"convolution": [], "linear": []}
    for into, out, kernel, stride, side in CONVOLUTIONS:
        call = lambda x, w, stride=stride, kernel=kernel: F.conv2d(x, w, stride=stride, padding=kernel // 2)  # noqa: E731
        parts["convolution"] += both(call, draw(64, into, side, side), draw(out, into, kernel, kernel))
    for into, out, images in LINEAR:
        parts["linear"] += both(F.linear, draw(images, into), draw(out, into), draw(out))
    norm = nn.BatchNorm2d(16)
    parts["depthwise"] = both(lambda x, w: F.conv2d(x, w, padding=1, groups=16), draw(64, 16, 8, 8), draw(16, 1, 3, 3))
    parts["normalisation"] = [*both(norm, draw(64, 16, 8, 8)), norm.running_var]
    classes = torch.randint(10, (64,), generator=generator)
    parts["cross-entropy"] = both(lambda x: F.cross_entropy(x, classes, reduction="none"), draw(64, 10))
    x, square = draw(10_000), draw(200, 200).double()
    parts["functions"] = [x.exp(), x.abs().log(), x.tanh(), x.double().exp()]  # square roots differ: docs/portable.md
    parts["sums"] = [x.sum(), x.std(), x.norm(), x @ x, draw(50, 50) @ draw(50)]
    parts["linear algebra"] = [square @ square, torch.linalg.eigvalsh(square + square.T), torch.linalg.qr(square)[0]]
    return parts


def numpy_parts() -> dict[str, list[Any]]:
    """What tables and analyses are made with."""
    import numpy as np
    import pandas as pd
    import scipy.linalg
    import scipy.sparse.linalg
    import scipy.special

    draw = np.random.default_rng(0)
    x, square = draw.standard_normal(10_001), draw.standard_normal((150, 150))
    positive, symmetric = np.abs(x) + 0.1, square + square.T
    functions = np.exp, np.log, np.log1p, np.expm1, np.tanh, scipy.special.erf
    frame = pd.DataFrame({"x": x, "group": np.arange(x.size) % 7}).groupby("group")["x"]
    return {
        "numpy functions": [*(function(positive) for function in functions), positive**1.7],
        "numpy sums": [np.sum(x), np.std(x), np.percentile(x, [5, 25, 75]), x @ x, np.linalg.norm(x)],
        "numpy linear algebra": [square @ square, np.linalg.eigvalsh(symmetric), np.linalg.svd(square)[1]],
        "scipy": [
            *(scipy.linalg.eigh(symmetric)[0], scipy.sparse.linalg.eigsh(symmetric, k=5, v0=np.ones(150))[0]),
            scipy.special.stdtrit(np.arange(1, 9), 0.975),
        ],
        "pandas": [frame.mean().to_numpy(), frame.std().to_numpy()],
    }


def job() -> dict[str, str]:
    """A ResNet on scikit-learn's digits, trained, pruned by half and trained again: the digest of its tables."""
    from prunebench.data.prepare import prepare
    from prunebench.runs.engine import train
    from prunebench.runs.prune import ToSparsity
    from prunebench.runs.run import run_job
    from prunebench.runs.spec import Arm, Phase, RunSpec
    from prunebench.runs.updates import Sgd

    with tempfile.TemporaryDirectory() as folder:
        data, out = Path(folder) / "digits.safetensors", Path(folder) / "run"
        sizes = {"size": None, "train": 192, "validation": 64, "test": 64, "split_seed": 0}
        prepare("digits", None, Path(folder), **sizes, out=data, manifest=data.with_suffix(".json"))
        half = ToSparsity(kind="sparsity", criterion="global_magnitude", sparsity=0.5)
        phases = [Phase(epochs=2, max_lr=0.1, update=Sgd(0.9, 5e-4), prune=prune) for prune in ([], [half])]
        spec = RunSpec(
            folder="portable/run",
            task="digits",
            dataset="digits",
            batch_size=32,
            seed=0,
            network={"kind": "resnet", "depth": 8},
            arms=[Arm(name="arm", phases=phases)],
        )
        run_job(spec, train, out, Path(folder), data, numerics=numerics.found())
        lines = [line.split(",") for line in (out / "phases.csv").read_text().splitlines()]
        timed = {lines[0].index(name) for name in ("seconds", "peak_memory_mb")}
        kept = [[cell for at, cell in enumerate(line) if at not in timed] for line in lines]
        return {"a job's tables": hashlib.sha256(json.dumps(kept).encode()).hexdigest()[:8]}


def measure() -> dict[str, str]:
    """The digest of every part."""
    return {name: digest(arrays) for name, arrays in (torch_parts() | numpy_parts()).items()} | job()


def versions() -> dict[str, str]:
    """Of the libraries that the digests depend on; torch without its build, which changes no byte."""
    import numpy
    import scipy
    import torch

    return {"torch": torch.__version__.split("+")[0], "numpy": numpy.__version__, "scipy": scipy.__version__}


def main(words: list[str]) -> int:
    """Prints each digest beside the kept one; 1 where one differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--native", action="store_true", help="this machine's own way")
    parser.add_argument("--write", action="store_true", help=f"write {KEPT.name}")
    options = parser.parse_args(words)
    numerics.unpin() if options.native else numerics.pin()
    found, libraries = measure(), versions()
    if options.write:
        KEPT.write_text(json.dumps({"versions": libraries, "digests": found}, indent=2) + "\n")
    kept = json.loads(KEPT.read_text())
    if kept["versions"] != libraries:
        print(f"kept with {kept['versions']}, here {libraries}: digests need not agree")
    for name, value in found.items():
        print(f"{name:22} {value} {'' if value == kept['digests'][name] else 'kept: ' + kept['digests'][name]}")
    return int(found != kept["digests"])


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
