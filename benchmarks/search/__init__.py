"""Compare searches on recorded, tabulated and synthetic learning curves under a simulated clock."""
