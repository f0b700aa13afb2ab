"""The suite: what makes a paper's claims decidable. Knows no paper; meets them through `registry` alone."""
