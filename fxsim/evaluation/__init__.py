"""How good a network is: accuracy and its kin on a data set, agreement with another network, noise layer by layer."""
