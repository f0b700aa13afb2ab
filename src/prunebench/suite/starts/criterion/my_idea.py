"""A pruning criterion of yours, and the claim that it beats global magnitude.

`prunebench run FOLDER/my_idea.yaml` decides it.
"""

from prunebench.pruning import register
from prunebench.suite.registry import register_claims


@register("my_idea", scope="global")
def my_idea(inputs):
    """|w| over the root mean square of the layer's surviving weights"""
    scores = {}
    for name, weight in inputs.weights.items():
        alive = weight[inputs.masks[name]]
        scores[name] = weight.abs() / alive.square().mean().sqrt().clamp(min=1e-12)
    return scores


@register_claims("s_cyc")
def claims():
    """Judged with S-Cyc's own claims; the import stands inside, so that a dry run needs no pandas."""
    from prunebench.papers.s_cyc.claims import beats

    yield beats("Z1", "criterion", "my_idea", "global_magnitude")
