"""Secrets taken out before anything is stored."""
