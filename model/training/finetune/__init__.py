"""Learning from corrections: a PAM of any size and a data set of regions become a better PAM of the same size."""
