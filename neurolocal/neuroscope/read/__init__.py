"""Files of other sites -> records: saved pages, lists of maxima, GLUScope's examples."""
