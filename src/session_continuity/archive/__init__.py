"""Moves old rows into files, proves that they are there, and brings them back."""
