"""From a trained network to an exported file, and the gate that lets it through."""
