"""Files of weights: known ones, downloads, safe reading, and the card from which a network is rebuilt."""
