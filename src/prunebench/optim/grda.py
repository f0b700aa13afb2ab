"""gRDA, the optimizer of directional pruning (Chao, Wang, Xing, Cheng, NeurIPS 2020, arXiv 2006.09358).

`GRDA` is a torch optimizer; `threshold_increment` and `grda_step_` are its arithmetic, for a loop of its own. Importing
this module does not import torch._dynamo (1.3 s); constructing a torch optimizer, `GRDA` among them, does.
"""

import math
from collections.abc import Callable, Iterable
from numbers import Real
from typing import Any, TypeVar, overload

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim import Optimizer

from prunebench.errors import InputError

Number = TypeVar("Number", float, Tensor)


def threshold_increment(n: Number, lr: Number | float, c: float, mu: float) -> Number:
    """What update n = 1, 2, ... adds to the threshold: c lr^(mu + 1/2) (n^mu - (n - 1)^mu).

    n and lr: floats, or 0-dim float64 tensors for loops that must not wait for a device. At a constant lr the sum over
    updates is the paper's g(n, lr) = c lr^(1/2 + mu) n^mu. As a sum, as in the authors' PyTorch code, a lower lr makes
    the threshold grow more slowly; the closed form with the current lr would let it collapse.
    """
    return c * lr ** (mu + 0.5) * (n**mu - (n - 1) ** mu)


@torch.no_grad()
def grda_step_(
    parameters: list[Tensor],
    gradients: list[Tensor],
    accumulators: list[Tensor],
    *,
    lr: float | Tensor,
    threshold: float | Tensor,
    foreach: bool = False,
) -> None:
    """One update in place: v -= lr g, w = v - clamp(v, -threshold, threshold) = sign(v) max(|v| - threshold, 0).

    parameters (w), gradients (g) and accumulators (v): tensors of the same shapes and dtypes, in the same order; v
    begins as a clone of w. threshold >= 0, that of this update, its `threshold_increment` included; 0 makes this SGD,
    to the bit where lr and threshold are numbers and nothing is compiled. Numbers for lr and threshold, or 0-dim
    tensors on the parameters' device, which are not waited for.
    foreach: torch's multi-tensor functions in place of a loop; the result has the same bits. NaN stays NaN; the sign of
    a zero means nothing. No parameter-sized temporary for numbers, and at most one per tensor for tensors.
    """
    if not parameters:
        return
    if isinstance(lr, Tensor) or isinstance(threshold, Tensor):
        # One dtype at a time: 0-dim tensors are rounded to it just as numbers are by the functions below.
        for dtype in dict.fromkeys(p.dtype for p in parameters):
            device = next(p.device for p in parameters if p.dtype == dtype)
            rounded_lr, rounded_threshold = (
                x.to(device=device, dtype=dtype) if isinstance(x, Tensor) else x for x in (lr, threshold)
            )
            chosen = [t for t in zip(parameters, gradients, accumulators, strict=True) if t[0].dtype == dtype]
            step: Callable[..., None] = _multi_tensor_from_device_ if foreach else _single_tensor_
            step(*map(list, zip(*chosen, strict=True)), rounded_lr, rounded_threshold)
    else:
        step = _multi_tensor_ if foreach else _single_tensor_
        step(parameters, gradients, accumulators, lr, threshold)


def _single_tensor_(
    parameters: list[Tensor],
    gradients: list[Tensor],
    accumulators: list[Tensor],
    lr: Any,  # with threshold a float or a tensor: torch's stubs know no union of the two
    threshold: Any,
) -> None:
    for p, g, v in zip(parameters, gradients, accumulators, strict=True):
        if isinstance(lr, Tensor):
            v.sub_(g * lr)
        else:
            v.add_(g, alpha=-lr)
        _shrink_(p, v, threshold)


def _multi_tensor_(
    parameters: list[Tensor], gradients: list[Tensor], accumulators: list[Tensor], lr: float, threshold: float
) -> None:
    torch._foreach_add_(accumulators, gradients, alpha=-lr)
    if any(p.is_cpu for p in parameters):  # where torch's multi-tensor functions are loops themselves
        for p, v in zip(parameters, accumulators, strict=True):
            _shrink_(p, v, threshold)
    else:
        _multi_shrink_(parameters, accumulators, threshold)


def _shrink_(p: Tensor, v: Tensor, threshold: Any) -> None:
    """p = sign(v) max(|v| - threshold, 0) for a threshold that is a float or a tensor."""
    if not isinstance(threshold, Tensor) and threshold == 0:
        p.copy_(v)  # v - clamp(v, 0, 0) would turn -0.0 into 0.0
    elif torch.compiler.is_compiling():
        p.copy_(v - v.clamp(-threshold, threshold))  # fused; the tracer knows no out= with strides
    elif p.is_cpu and p.dtype in (torch.float32, torch.float64) and not isinstance(threshold, Tensor):
        # One pass where the general way takes two, 1.3 times as fast a step. Not general: it takes no tensor, rounds a
        # threshold in bf16 otherwise, and the sign of its zeros depends on strides.
        F.softshrink(v, threshold, out=p)  # type: ignore[call-arg]
    else:
        torch.clamp(v, -threshold, threshold, out=p)
        torch.sub(v, p, out=p)


def _multi_shrink_(parameters: list[Tensor], accumulators: list[Tensor], threshold: float) -> None:
    """`_shrink_` in its general way."""
    torch._foreach_copy_(parameters, accumulators)
    if threshold == 0:
        return
    torch._foreach_clamp_min_(parameters, -threshold)
    torch._foreach_clamp_max_(parameters, threshold)
    torch._foreach_neg_(parameters)
    torch._foreach_add_(parameters, accumulators)


def _multi_tensor_from_device_(
    parameters: list[Tensor],
    gradients: list[Tensor],
    accumulators: list[Tensor],
    lr: float | Tensor,
    threshold: float | Tensor,
) -> None:
    """With no multi-tensor clamp at a tensor: max(v - threshold, 0) + min(v + threshold, 0), one of which is 0."""
    if isinstance(lr, Tensor):
        torch._foreach_sub_(accumulators, torch._foreach_mul(gradients, lr))
    else:
        torch._foreach_add_(accumulators, gradients, alpha=-lr)
    torch._foreach_copy_(parameters, accumulators)
    torch._foreach_add_(parameters, -threshold)
    torch._foreach_clamp_min_(parameters, 0.0)
    negative = torch._foreach_add(accumulators, threshold)
    torch._foreach_clamp_max_(negative, 0.0)
    torch._foreach_add_(parameters, negative)


class GRDA(Optimizer):
    r"""Generalised regularised dual averaging: SGD whose weights go to exact zeros while it trains.

    From Chao, Wang, Xing and Cheng, "Directional Pruning of Deep Neural Networks", NeurIPS 2020 (arXiv 2006.09358);
    [authors' code] below is their PyTorch implementation. Beside each parameter w lies an accumulator v, a clone of w
    at first, that takes SGD's steps; w is v, shrunk towards zero by a threshold g that grows. Update n = 1, 2, ... is

        v <- v - lr * gradient at w
        g <- g + c * lr^(mu + 1/2) * (n^mu - (n - 1)^mu)
        w <- sign(v) * max(|v| - g, 0)

    So at a constant lr g = c sqrt(lr) (n lr)^mu; a schedule that lowers lr slows the growth, and g never falls. No
    retraining and no sparsity to choose: the network ends as sparse as c and mu make it. With c = 0 this is
    torch.optim.SGD: to the bit where lr is a number and nothing is compiled, to rounding elsewhere.

    After the first step w is a function of v and g. Whatever else writes parameters (the model's load_state_dict,
    masks, clipping, re-initialisation) is undone by the next step, without a word: write `state[p]["accumulator"]`,
    too, or make a new GRDA.

    >>> import torch
    >>> from prunebench.optim import GRDA
    >>> _ = torch.manual_seed(0)
    >>> x = torch.randn(512, 100)
    >>> y = x[:, :5].sum(1, keepdim=True)                # 5 of 100 inputs matter
    >>> model = torch.nn.Linear(100, 1)
    >>> optimizer = GRDA(model.parameters(), lr=0.05, c=0.03, mu=0.51)
    >>> scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones=[300], gamma=0.1)
    >>> for step in range(400):
    ...     batch = torch.randint(512, (64,))
    ...     loss = torch.nn.functional.mse_loss(model(x[batch]), y[batch])
    ...     optimizer.zero_grad()
    ...     loss.backward()
    ...     optimizer.step()
    ...     scheduler.step()
    >>> zeros = sum(int((p == 0).sum()) for p in model.parameters())
    >>> sparsity = zeros / sum(p.numel() for p in model.parameters())
    >>> sparsity > 0.9 and loss.item() < 0.1
    True

    How to choose [authors' code, README]:

    * lr: what works for SGD without momentum, with its schedule; any of torch's schedulers, OneCycleLR and CyclicLR
      with cycle_momentum=False.
    * mu: in (0.5, 1) by the paper's theory, 0.501, 0.51 or 0.55 to begin with. Larger is sparser, late in training
      above all. Here mu in (0, 1] is allowed: the authors also ran 0.4.
    * c: in (0, 0.005), for some 10^5 updates, as is the default. With mu fixed, the largest that keeps the accuracy
      over the first 1 to 5 epochs: c mostly acts early. The authors took 0.0005 for VGG-16 and 0.001 for WRN-28-10 on
      CIFAR (batch 128), and 0.005 for ResNet-50 on ImageNet. Fewer updates need more: compare c sqrt(lr) (n lr)^mu, n
      all updates of the run, with the size of the weights. (The example's 400 end at a g of 0.03, its weights begin
      below 0.1.)

    Sparsity reacts strongly to both. Biases and normalisation are parameters like others and are thresholded too (the
    authors' choice), so that a normalisation's scale can become 0 and silence its channel.
    `spare_norm_and_bias=True` updates parameters of fewer than two dimensions by plain SGD instead; these then need no
    accumulator. There is no momentum and no weight decay: the update has none, and the paper's results, SGD's too, are
    without them. Zeros are exact (`p == 0`), but not masked: a weight may come back when its |v| outgrows g.

    params: an iterable of tensors, of (name, tensor) pairs or of groups (dicts), as everywhere in torch.optim.
    lr >= 0, c >= 0, mu in (0, 1]: each may differ by group. lr may be a 0-dim tensor.
    foreach: torch's multi-tensor functions in place of a loop over tensors, with the same bits. None takes them where
      all of a group's parameters are on a GPU; on a CPU the loop is faster.
    capturable: for CUDA graphs. Nothing then waits for the device: step and threshold lie on the parameters' device,
      and so does lr, which `GRDA` turns into a 0-dim float64 tensor of its own. A graph would freeze a number, so
      change `group["lr"]` in place, by `fill_`, as torch's schedulers do. Take steps before the capture: the first one
      allocates. All of a group's parameters lie on one device. Results differ from those of capturable=False by
      rounding: lr, in the parameters' dtype, times the gradient is rounded first.

    Under torch.compile give lr as a tensor, or each new lr is compiled anew (as for torch.optim's).

    State: one tensor per parameter, `state[p]["accumulator"]`, in p's dtype; two float64 tensors of one element per
    group, `group["step"]` (n) and `group["threshold"]` (g), which `state_dict` carries. A parameter without a gradient
    is left alone in that step; a step counts for a group where at least one of its parameters has one.
    `load_state_dict` copies what it is given, and keeps this optimizer's own foreach, capturable and kind of lr (number
    or tensor, a new one in float64): they belong to the machine, not to the run. NaNs stay NaN: thresholding does not
    hide a diverged run.

    Raises InputError for hyperparameters out of range, complex parameters, sparse parameters or gradients (before
    anything is updated), and for a loaded state that is not gRDA's or not of these parameters.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[tuple[str, Tensor]] | Iterable[dict[str, Any]],
        lr: float | Tensor,
        c: float = 0.0005,
        mu: float = 0.6,
        *,
        spare_norm_and_bias: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "c": c,
            "mu": mu,
            "spare_norm_and_bias": spare_norm_and_bias,
            "foreach": foreach,
            "capturable": capturable,
        }
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds a group, with a threshold and a count of steps of its own, from 0 on. Raises InputError as `GRDA`."""
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        try:
            _check(group)
        except InputError:
            self.param_groups.pop()
            raise
        # Not 0-dim: torch.compile loses, without a word, what is written to such on the CPU in float64 (torch 2.13).
        group["step"] = torch.zeros(1, dtype=torch.float64)
        group["threshold"] = torch.zeros(1, dtype=torch.float64)
        _place_(group)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes up the state of another GRDA with the same groups, on whatever device (see the class).

        An InputError leaves this optimizer as it was.
        """
        before = self.state, self.param_groups
        super().load_state_dict(state_dict)
        try:
            self._check_loaded()
        except InputError:
            self.state, self.param_groups = before
            raise
        for group, own in zip(self.param_groups, before[1], strict=True):
            group["foreach"], group["capturable"] = own["foreach"], own["capturable"]
            lr = float(group["lr"])
            tensor = isinstance(own["lr"], Tensor)
            group["lr"] = torch.tensor(lr, dtype=torch.float64, device=own["lr"].device) if tensor else lr
            _place_(group)
            for p in group["params"]:
                if p in self.state:
                    # torch hands over the given tensor itself: two optimizers would go on with one accumulator.
                    state = self.state[p]
                    state["accumulator"] = torch.empty_like(p.detach()).copy_(state["accumulator"])

    def _check_loaded(self) -> None:
        """Looks at what torch made of a loaded state: pre-hooks may have turned another kind of state into gRDA's."""
        for group in self.param_groups:
            keys = ("step", "threshold", "lr", "c", "mu", "spare_norm_and_bias")
            if missing := [key for key in keys if key not in group]:
                raise InputError(f"this is no state of GRDA: its groups have no {' and no '.join(missing)}")
            for p in group["params"]:
                if p not in self.state:  # spared, or without a gradient so far
                    continue
                if "accumulator" not in self.state[p]:
                    raise InputError("this is no state of GRDA: a parameter's state has no accumulator")
                if (found := self.state[p]["accumulator"].shape) != p.shape:
                    raise InputError(
                        f"an accumulator of shape {tuple(found)} for a parameter of shape {tuple(p.shape)}; "
                        "allowed: the state of a GRDA for parameters of the same shapes"
                    )

    def _init_group(
        self,
        group: dict[str, Any],
        parameters: list[Tensor],
        gradients: list[Tensor],
        accumulators: list[Tensor],
        spared: list[Tensor],
        spared_gradients: list[Tensor],
    ) -> None:
        """Fills the lists, empty at first. torch.compile knows this name: it runs it once and traces around it."""
        for p in group["params"]:
            if p.grad is None:
                continue
            if group["spare_norm_and_bias"] and p.dim() < 2:
                spared.append(p)
                spared_gradients.append(p.grad)
                continue
            state = self.state[p]
            if "accumulator" not in state:
                state["accumulator"] = p.detach().clone()
            parameters.append(p)
            gradients.append(p.grad)
            accumulators.append(state["accumulator"])

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One update of all groups; the loss where a `closure`, which computes it and its gradients, is given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:  # all of them, before any is updated
            for p in group["params"]:
                if p.grad is not None and p.grad.layout != torch.strided:
                    raise InputError(f"a gradient is sparse ({p.grad.layout}); GRDA allows dense ones only")
        for group in self.param_groups:
            parameters: list[Tensor] = []
            gradients: list[Tensor] = []
            accumulators: list[Tensor] = []
            spared: list[Tensor] = []
            spared_gradients: list[Tensor] = []
            self._init_group(group, parameters, gradients, accumulators, spared, spared_gradients)
            if not parameters and not spared:
                continue
            lr, threshold = _advance_(group)
            foreach = group["foreach"]
            if foreach is None:
                foreach = all(p.is_cuda for p in group["params"])
            grda_step_(parameters, gradients, accumulators, lr=lr, threshold=threshold, foreach=foreach)
            # SGD is gRDA without a threshold, and w its own accumulator.
            _sgd_step_(spared, spared_gradients, lr, foreach)
        return loss


def _advance_(group: dict[str, Any]) -> tuple[float | Tensor, float | Tensor]:
    """Counts an update of the group; its lr and threshold, as tensors where nothing may wait for them."""
    lr, step, threshold = group["lr"], group["step"], group["threshold"]
    if group["capturable"] or torch.compiler.is_compiling():
        step.add_(1)
        exact = lr.double() if isinstance(lr, Tensor) else lr
        threshold.add_(threshold_increment(step, exact, group["c"], group["mu"]))
        return lr, threshold.view(())
    if group["params"][0].is_cuda and torch.cuda.is_current_stream_capturing():
        raise InputError("a CUDA graph is being captured; allowed: GRDA with capturable=True only")
    lr, n = float(lr), step.item() + 1
    total = threshold.item() + threshold_increment(n, lr, group["c"], group["mu"])
    step.fill_(n)
    threshold.fill_(total)
    return lr, total


def _sgd_step_(parameters: list[Tensor], gradients: list[Tensor], lr: float | Tensor, foreach: bool) -> None:
    """w -= lr g in place."""
    if isinstance(lr, Tensor):
        for p, g in zip(parameters, gradients, strict=True):
            p.sub_(g * lr.to(device=p.device, dtype=p.dtype))
    elif foreach and parameters:
        torch._foreach_add_(parameters, gradients, alpha=-lr)
    else:
        for p, g in zip(parameters, gradients, strict=True):
            p.add_(g, alpha=-lr)


def _check(group: dict[str, Any]) -> None:
    """Raises InputError unless the group's hyperparameters and parameters are allowed."""
    lr, c, mu = group["lr"], group["c"], group["mu"]
    scalar = isinstance(lr, Real) or (isinstance(lr, Tensor) and lr.dim() == 0 and not lr.is_complex())
    if not scalar or not 0 <= float(lr) < math.inf:  # False for NaN, too
        raise InputError(f"lr of GRDA is {lr!r}; allowed: a finite number, 0 or more, or a 0-dim tensor of one")
    if not isinstance(c, Real) or not 0 <= float(c) < math.inf:
        raise InputError(f"c of GRDA is {c!r}; allowed: a finite number, 0 or more")
    if not isinstance(mu, Real) or not 0 < float(mu) <= 1:
        raise InputError(f"mu of GRDA is {mu!r}; allowed: above 0, up to 1 (the authors advise 0.501 to 0.55)")
    for p in group["params"]:
        if p.layout != torch.strided:
            raise InputError(f"a parameter is sparse ({p.layout}); GRDA allows dense ones only")
        if not p.is_floating_point():
            raise InputError(f"a parameter is {p.dtype}; GRDA allows real floating-point ones only")
    if group["capturable"] and len(devices := sorted({str(p.device) for p in group["params"]})) > 1:
        raise InputError(f"a capturable group of GRDA lies on {', '.join(devices)}; allowed: one device per group")


def _place_(group: dict[str, Any]) -> None:
    """Brings the group's scalars to where it needs them: its device if capturable, with lr; else the CPU, where an lr
    that is no tensor becomes a float."""
    device = group["params"][0].device if group["capturable"] and group["params"] else torch.device("cpu")
    for name in ("step", "threshold"):
        group[name] = group[name].to(device=device, dtype=torch.float64)
    if group["capturable"]:
        lr = group["lr"]
        lr = lr.detach().clone() if isinstance(lr, Tensor) else torch.tensor(lr, dtype=torch.float64)
        group["lr"] = lr.to(device=device, dtype=torch.float64)
    elif not isinstance(group["lr"], Tensor):
        group["lr"] = float(group["lr"])
