"""What is said of whom: assertions, relatives, plans, allergies."""
