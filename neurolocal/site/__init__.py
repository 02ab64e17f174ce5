"""The pages of a store: as a static site, and served with a subject that can be asked."""
