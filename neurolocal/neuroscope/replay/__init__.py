"""A store's texts are run through a subject again, and compared."""
