"""How few bits a network can live on: the ladder of types, and bits for each layer within a budget."""
