"""How a drug is taken."""
