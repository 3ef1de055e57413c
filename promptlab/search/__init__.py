"""Finding label words: ordinary ones, which any verbalizer takes."""
