"""Automatic, offline interpretation of a language model's neurons."""
