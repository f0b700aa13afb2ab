"""The cascade study's figures, from its tables alone."""
