"""How a model learns: plans, the one loop, and a file for each method."""
