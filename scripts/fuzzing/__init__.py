"""What `fuzz.py` is made of: the readers, the ways to damage their files, and the process in which a reader runs."""
