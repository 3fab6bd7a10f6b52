"""How nano is made: scenes that a program draws, and the two stages that learn from them."""
