"""The claims of the three abstracts: what each one measures, its decision rule, and the verdict.

A paper's module turns its runs into *observations*, one number per claim, quantity, cell and seed, and declares its
claims; a claim's rule sees its observations and its margins and nothing else, so that simulated observations
(`calibration`) meet the rule that decides the real ones.
"""
