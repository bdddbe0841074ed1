"""What equilibrium models are compared with: networks of as many parameters, trained by the same loop."""
