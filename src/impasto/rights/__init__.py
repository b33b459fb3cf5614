"""Whose it is: who signed a picture, what it was made from, and whether that still holds."""
