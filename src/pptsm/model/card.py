"""Where the card of a network stood before version 1; it is in pptsm.weights.card."""

from pptsm.weights.card import load_network, network_arguments, read_card

__all__ = ["load_network", "network_arguments", "read_card"]
