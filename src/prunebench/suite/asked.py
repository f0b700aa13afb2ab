"""The claims of a preset: those of every paper, and those that the preset asks of other methods."""

from typing import TYPE_CHECKING

from prunebench.errors import InputError, nearest

if TYPE_CHECKING:
    from prunebench.suite.claim import Claim
    from prunebench.suite.preset import Preset


def all_claims(preset: "Preset") -> "tuple[Claim, ...]":
    """The claims of each paper, the preset's or not, and behind them those that are asked of other methods.

    Raises InputError for an identifier that two papers use; naming the entry of `claims.ask`, for a claim that is
    unknown or about no method, for a method that is none of the preset's, and for what is asked twice.
    """
    papers = preset.all_papers().values()
    known: dict[str, Claim] = {}
    for claim in (claim for paper in papers for claim in paper.claims):
        if claim.id in known:
            raise InputError(f"claim {claim.id} is one of '{known[claim.id].paper}' and one of '{claim.paper}'")
        known[claim.id] = claim
    asked: dict[str, Claim] = {}
    for place, entry in enumerate(preset.claims.ask):
        where = f"claims.ask.{place}"
        claim = _claim(known, entry.like, where)
        methods = preset.methods(claim.asks)
        if entry.method not in methods:
            raise InputError(f"{where}.method: no {claim.asks} '{entry.method}': {nearest(entry.method, methods)}")
        like = claim.asked_of(entry.method)
        if like.id in asked:
            raise InputError(f"{where} asks {like.id} a second time")
        asked[like.id] = like
    return tuple(
        claim
        for paper in papers
        for claim in (*paper.claims, *(like for like in asked.values() if like.paper == paper.key))
    )


def _claim(known: "dict[str, Claim]", name: str, where: str) -> "Claim":
    if name not in known:
        raise InputError(f"{where}.like names '{name}', which is no claim: {nearest(name, known)}")
    if not known[name].asks:
        others = ", ".join(f"{claim.id} ({claim.asks})" for claim in known.values() if claim.asks) or "none"
        raise InputError(f"{where}.like: claim {name} is about no method that another could replace; allowed: {others}")
    return known[name]
