"""gRDA, the optimizer of directional pruning (Chao, Wang, Xing, Cheng, NeurIPS 2020, arXiv 2006.09358)."""

import math
from collections.abc import Callable, Iterable
from numbers import Real
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim import Optimizer

from prunebench.errors import InputError
from prunebench.optim.grda_step import grda_step_, threshold_increment


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
    lr >= 0, c >= 0, mu in (0, 1]: each may differ by group. lr may be a tensor of one element.
    maximize: ascends the objective instead, as in torch.optim.
    foreach: torch's multi-tensor functions in place of a loop over tensors, with the same bits. None takes them where
      all of a group's parameters are on a GPU; on a CPU the loop is faster.
    capturable: for CUDA graphs. Nothing then waits for the device: step and threshold lie on the parameters' device,
      and so does lr, which `GRDA` turns into a 0-dim float64 tensor of its own. A graph would freeze a number, so
      change `group["lr"]` in place, by `fill_`, as torch's schedulers do. Take steps before the capture: the first one
      allocates. All of a group's parameters lie on one device. Results differ from those of capturable=False by
      rounding: lr, in the parameters' dtype, times the gradient is rounded first.

    Under torch.compile give lr as a tensor, or each new lr is compiled anew (as for torch.optim's).

    State: one tensor per parameter, `state[p]["accumulator"]`, in the dtype that p had in its first step, or in p's
    where a loaded state is in a narrower one; two float64 tensors of one element per group, `group["step"]` (n) and
    `group["threshold"]` (g), which `state_dict` carries.

    n counts the steps of a parameter [authors' code]. One without a gradient is left alone in that step, and its
    threshold does not grow. A parameter that begins later than others of its group, or that has missed a step of
    theirs, has `step` and `threshold` of its own in `state[p]` from then on. Where an InputError ends a step, nothing
    has moved.

    `load_state_dict` copies what it is given, and keeps this optimizer's own foreach, capturable and kind of lr (number
    or tensor, a new one in float64): they belong to the machine, not to the run. NaNs stay NaN: thresholding does not
    hide a diverged run.

    Of torch.optim's options, fused and differentiable are not offered: there is no fused kernel of this update, and its
    threshold has no useful derivative.

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
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
    ) -> None:
        defaults = {
            "lr": lr,
            "c": c,
            "mu": mu,
            "spare_norm_and_bias": spare_norm_and_bias,
            "maximize": maximize,
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
        # What torch is given once all hooks have run: it rounds a state to its parameter's dtype.
        given: dict[str, Any] = {}
        hook = self.register_load_state_dict_pre_hook(lambda _, state: given.update(state))
        try:
            super().load_state_dict(state_dict)
        finally:
            hook.remove()
        try:
            self._check_loaded()
        except InputError:
            self.state, self.param_groups = before
            raise
        for group, own, saved_group in zip(self.param_groups, before[1], given["param_groups"], strict=True):
            group["foreach"], group["capturable"] = own["foreach"], own["capturable"]
            group.setdefault("maximize", own["maximize"])
            lr = float(group["lr"])
            tensor = isinstance(own["lr"], Tensor)
            group["lr"] = torch.tensor(lr, dtype=torch.float64, device=own["lr"].device) if tensor else lr
            _place_(group)
            for p, index in zip(group["params"], saved_group["params"], strict=True):
                if p in self.state:
                    _take_up(self.state[p], given["state"][index], p, group["capturable"])

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

    def _check_step(self, group: dict[str, Any]) -> None:
        """Raises InputError unless the group's gradients and lr allow a step."""
        for p in group["params"]:
            if p.grad is not None and p.grad.layout != torch.strided:
                raise InputError(f"a gradient is sparse ({p.grad.layout}); GRDA allows dense ones only")
        if group["capturable"] or torch.compiler.is_compiling():
            return
        _check_numbers(group)
        if group["params"] and group["params"][0].is_cuda and torch.cuda.is_current_stream_capturing():
            raise InputError("a CUDA graph is being captured; allowed: GRDA with capturable=True only")
        for p in group["params"]:
            if p.grad is None or not (state := self.state.get(p)):
                continue
            if (v := state["accumulator"]).device != p.device:
                where = f"an accumulator lies on {v.device}, its parameter on {p.device}"
                raise InputError(f"{where}: make GRDA after the model is moved, or load its state")
            if v.shape != p.shape:
                raise InputError(f"an accumulator of shape {tuple(v.shape)} for a parameter of shape {tuple(p.shape)}")

    def _init_group(
        self,
        group: dict[str, Any],
        parameters: list[Tensor],
        gradients: list[Tensor],
        accumulators: list[Tensor],
        steps: list[Tensor],
        thresholds: list[Tensor],
        spared: list[Tensor],
        spared_gradients: list[Tensor],
    ) -> None:
        """Fills the lists, empty at first: parameters that share the group's count come first, those with one of their
        own, which `steps` and `thresholds` hold, last. torch.compile knows this name: it runs it once and traces around
        it."""
        moving, resting = [], []
        for p in group["params"]:
            if p.grad is None:
                if p in self.state:
                    resting.append(p)
            elif group["spare_norm_and_bias"] and p.dim() < 2:
                spared.append(p)
                spared_gradients.append(p.grad)
            else:
                moving.append(p)
        begun = None
        for p in moving:
            state = self.state[p]
            if "accumulator" not in state:
                state["accumulator"] = p.detach().clone()
                begun = float(group["step"]) > 0 if begun is None else begun
                if begun:
                    state["step"], state["threshold"] = (torch.zeros_like(group[key]) for key in ("step", "threshold"))
        late = [p for p in moving if "step" in self.state[p]]
        if len(late) < len(moving):  # the group counts on, without those that rest
            for p in resting:
                if "step" not in self.state[p]:
                    self.state[p].update({key: group[key].clone() for key in ("step", "threshold")})
        for p in [*(p for p in moving if "step" not in self.state[p]), *late]:
            parameters.append(p)
            gradients.append(p.grad)
            accumulators.append(self.state[p]["accumulator"])
        steps += [self.state[p]["step"] for p in late]
        thresholds += [self.state[p]["threshold"] for p in late]

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
            self._check_step(group)
        for group in self.param_groups:
            parameters: list[Tensor] = []
            gradients: list[Tensor] = []
            accumulators: list[Tensor] = []
            steps: list[Tensor] = []
            thresholds: list[Tensor] = []
            spared: list[Tensor] = []
            spared_gradients: list[Tensor] = []
            self._init_group(group, parameters, gradients, accumulators, steps, thresholds, spared, spared_gradients)
            foreach = group["foreach"]
            if foreach is None:
                foreach = all(p.is_cuda for p in group["params"])
            lr = group["lr"]
            if not (group["capturable"] or torch.compiler.is_compiling()):
                lr = float(lr)
            elif isinstance(lr, Tensor):
                lr = lr.reshape(())
            signed = -lr if group["maximize"] else lr
            together = len(parameters) - len(steps)
            cohorts = [([group["step"]], [group["threshold"]], list(range(together)))] if together else []
            for its_steps, its_thresholds, indices in cohorts + _cohorts(group, steps, thresholds, together):
                threshold = _advance_(group, its_steps, its_thresholds, lr)
                lists = ([tensors[i] for i in indices] for tensors in (parameters, gradients, accumulators))
                grda_step_(*lists, lr=signed, threshold=threshold, foreach=foreach)
            # SGD is gRDA without a threshold, and w its own accumulator.
            _sgd_step_(spared, spared_gradients, signed, foreach)
        return loss


Cohort = tuple[list[Tensor], list[Tensor], list[int]]
"""Tensors of one count of steps and of one threshold, and the places of the parameters that they are for."""


def _cohorts(group: dict[str, Any], steps: list[Tensor], thresholds: list[Tensor], first: int) -> list[Cohort]:
    """Of the parameters with counts of their own, from place `first` on, those with equal ones together."""
    if group["capturable"] or torch.compiler.is_compiling():
        return [([s], [t], [first + i]) for i, (s, t) in enumerate(zip(steps, thresholds, strict=True))]
    cohorts: dict[tuple[float, float], Cohort] = {}
    for i, (step, threshold) in enumerate(zip(steps, thresholds, strict=True)):
        cohort = cohorts.setdefault((step.item(), threshold.item()), ([], [], []))
        cohort[0].append(step)
        cohort[1].append(threshold)
        cohort[2].append(first + i)
    return list(cohorts.values())


def _advance_(
    group: dict[str, Any], steps: list[Tensor], thresholds: list[Tensor], lr: float | Tensor
) -> float | Tensor:
    """Counts an update of a cohort; its threshold, as a tensor where nothing may wait for it."""
    step, threshold = steps[0], thresholds[0]
    if group["capturable"] or torch.compiler.is_compiling():
        step.add_(1)
        exact = lr.double() if isinstance(lr, Tensor) else lr
        threshold.add_(threshold_increment(step, exact, group["c"], group["mu"]))
        return threshold.view(())
    n = step.item() + 1
    total = threshold.item() + threshold_increment(n, float(lr), group["c"], group["mu"])
    for step, threshold in zip(steps, thresholds, strict=True):
        step.fill_(n)
        threshold.fill_(total)
    return total


def _take_up(state: dict[str, Any], saved: dict[str, Any], p: Tensor, capturable: bool) -> None:
    """A parameter's state from what was saved, in its precision and as a copy, where torch gives neither."""
    dtype = torch.promote_types(saved["accumulator"].dtype, p.dtype)
    state["accumulator"] = torch.empty_like(p.detach(), dtype=dtype).copy_(saved["accumulator"])
    for key in saved.keys() & {"step", "threshold"}:
        device = p.device if capturable else "cpu"
        state[key] = torch.empty(1, dtype=torch.float64, device=device).copy_(saved[key])


def _sgd_step_(parameters: list[Tensor], gradients: list[Tensor], lr: float | Tensor, foreach: bool) -> None:
    """w -= lr g in place."""
    if isinstance(lr, Tensor):
        for p, g in zip(parameters, gradients, strict=True):
            p.sub_(g * lr.to(device=p.device, dtype=p.dtype))
    elif foreach and parameters and all(type(g) is Tensor for g in gradients):
        torch._foreach_add_(parameters, gradients, alpha=-lr)
    else:
        for p, g in zip(parameters, gradients, strict=True):
            p.add_(g, alpha=-lr)


def _check(group: dict[str, Any]) -> None:
    """Raises InputError unless the group's hyperparameters and parameters are allowed."""
    _check_numbers(group)
    for p in group["params"]:
        if p.layout != torch.strided:
            raise InputError(f"a parameter is sparse ({p.layout}); GRDA allows dense ones only")
        if not p.is_floating_point():
            raise InputError(f"a parameter is {p.dtype}; GRDA allows real floating-point ones only")
    if group["capturable"] and len(devices := sorted({str(p.device) for p in group["params"]})) > 1:
        raise InputError(f"a capturable group of GRDA lies on {', '.join(devices)}; allowed: one device per group")


def _check_numbers(group: dict[str, Any]) -> None:
    """Raises InputError unless lr, c and mu are allowed."""
    lr, c, mu = group["lr"], group["c"], group["mu"]
    scalar = isinstance(lr, Real) or (isinstance(lr, Tensor) and lr.numel() == 1 and not lr.is_complex())
    if not scalar or not 0 <= float(lr) < math.inf:  # False for NaN, too
        raise InputError(f"lr of GRDA is {lr!r}; allowed: a finite number, 0 or more, or a tensor of one")
    if not isinstance(c, Real) or not 0 <= float(c) < math.inf:
        raise InputError(f"c of GRDA is {c!r}; allowed: a finite number, 0 or more")
    if not isinstance(mu, Real) or not 0 < float(mu) <= 1:
        raise InputError(f"mu of GRDA is {mu!r}; allowed: above 0, up to 1 (the authors advise 0.501 to 0.55)")


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
