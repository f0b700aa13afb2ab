"""The papers: one room each. All that is known of a paper lies in its folder."""
