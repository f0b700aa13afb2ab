"""The directional study's figures, from its tables alone."""
