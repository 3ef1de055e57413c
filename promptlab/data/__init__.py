"""Reading examples, sampling few shots, and the data shipped with the package."""
