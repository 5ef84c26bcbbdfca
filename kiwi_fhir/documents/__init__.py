"""Documents as files (brat, JSON lines), and without what their model was too unsure of."""
