"""The claims of a preset: those of every paper, and those that the preset asks of other methods."""

from typing import TYPE_CHECKING

from prunebench.errors import InputError, nearest
from prunebench.suite.registry import claims_of

if TYPE_CHECKING:
    from prunebench.suite.claim import Claim
    from prunebench.suite.preset import Preset


def check_asked(preset: "Preset") -> None:
    """Raises InputError, naming the entry of `claims.ask`, for a claim that is about no method, for a method that is
    none of the preset's, and for what is asked twice."""
    kinds = {name: kind for paper in preset.all_papers().values() for name, kind in paper.asks.items()}
    seen = set()
    for place, entry in enumerate(preset.claims.ask):
        where = f"claims.ask.{place}"
        if entry.like not in kinds:
            can_be = nearest(entry.like, kinds)
            raise InputError(
                f"{where}.like: '{entry.like}' is no claim about a method that another can replace: {can_be}"
            )
        methods = preset.methods(kind := kinds[entry.like])
        if entry.method not in methods:
            raise InputError(f"{where}.method: no {kind} '{entry.method}': {nearest(entry.method, methods)}")
        if (entry.like, entry.method) in seen:
            raise InputError(f"{where} asks {entry.like}:{entry.method} a second time")
        seen.add((entry.like, entry.method))


def all_claims(preset: "Preset") -> "tuple[Claim, ...]":
    """The claims of each paper, the preset's or not, those of users', and those that are asked of other methods.

    Raises InputError for an identifier that two papers use.
    """
    claims: list[Claim] = []
    owners: dict[str, str] = {}
    for paper in preset.all_papers().values():
        own = claims_of(paper)
        for claim in own:
            if claim.id in owners:
                raise InputError(f"claim {claim.id} is one of '{owners[claim.id]}' and one of '{claim.paper}'")
            owners[claim.id] = claim.paper
        known = {claim.id: claim for claim in own}
        asked = [entry for entry in preset.claims.ask if entry.like in known]
        claims += [*own, *(known[entry.like].asked_of(entry.method) for entry in asked)]
    return tuple(claims)
