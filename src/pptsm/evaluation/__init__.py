"""From networks to figures."""
