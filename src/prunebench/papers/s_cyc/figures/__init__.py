"""The S-Cyc study's figures, from its tables alone."""
