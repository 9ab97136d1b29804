"""What a network is: types, tensors, nodes, ops and their work. No arithmetic."""
