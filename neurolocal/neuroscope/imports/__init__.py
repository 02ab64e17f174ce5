"""Records of other sites -> a store."""
