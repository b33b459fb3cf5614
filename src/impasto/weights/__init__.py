"""How files become models, and models files."""
