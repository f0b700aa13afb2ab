"""Runs: one language for "start somewhere, prune, train, measure", and the engine that carries it out.

A job (`spec.RunSpec`) trains arms; an arm is a start and a list of phases; a phase prunes, says what becomes of the
weights, trains with one update under one LR profile, and is measured by probes. Knows no paper.
"""
