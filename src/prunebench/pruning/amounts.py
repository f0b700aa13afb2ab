"""How dense a network is at each point of a pruning schedule. Densities are shares of the prunable weights that are
alive, 0 < end <= start <= 1; every function starts at `start` and ends at `end` exactly and never rises.

This module does not import torch.
"""

from prunebench.errors import InputError


def cubic_density(start: float, end: float, share: float) -> float:
    """Density after `share`, in [0, 1], of a gradual ramp: fast at first, level at the end.

    The sparsity s = 1 - density follows s_f + (s_i - s_f) (1 - share)^3 (Zhu & Gupta 2017, equation 1), and the
    density the same cubic. Raises InputError if a number is out of its range.

    >>> from prunebench.pruning import cubic_density
    >>> [cubic_density(1.0, 0.5, share) for share in (0, 0.5, 1)]  # 0.5 + 0.5 * 0.5^3 halfway
    [1.0, 0.5625, 0.5]
    """
    _check(start, end)
    if not 0 <= share <= 1:
        raise InputError(f"share of the pruning ramp is {share}; allowed: >= 0 and <= 1")
    if share == 0:
        return start
    # rounding must not lift the density above the start: more weights than are alive cannot be kept
    return min(start, end + (start - end) * (1 - share) ** 3)


def round_density(start: float, end: float, round: int, rounds: int) -> float:
    """Density after `round`, in [0, rounds], of `rounds` prunes that each take the same share of the survivors:
    start (end / start)^(round / rounds). Raises InputError if a number is out of its range.

    >>> from prunebench.pruning import round_density
    >>> [round_density(1.0, 0.25, round, rounds=2) for round in range(3)]
    [1.0, 0.5, 0.25]
    """
    _check(start, end)
    if rounds < 1:
        raise InputError(f"number of pruning rounds is {rounds}; allowed: >= 1")
    if not 0 <= round <= rounds:
        raise InputError(f"pruning round is {round}; allowed: >= 0 and <= {rounds}")
    if round == rounds:
        return end
    return max(end, start * (end / start) ** (round / rounds))


def _check(start: float, end: float) -> None:
    if not 0 < end <= start <= 1:
        raise InputError(f"density goes from {start} to {end}; allowed: 0 < end <= start <= 1")


def density_after(rate: float, cycles: int) -> float:
    """Density after `cycles` prunes that each take the share `rate`, in [0, 1), of the rest.

    Raises InputError if a number is out of its range.

    >>> from prunebench.pruning.masks import density_after
    >>> [density_after(0.5, cycles) for cycles in range(4)]
    [1.0, 0.5, 0.25, 0.125]
    """
    if not 0 <= rate < 1:
        raise InputError(f"prune rate is {rate}; allowed: >= 0 and < 1")
    if cycles < 0:
        raise InputError(f"number of cycles is {cycles}; allowed: >= 0")
    return float((1 - rate) ** cycles)
