"""What a test gave."""
