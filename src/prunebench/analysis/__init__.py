"""What a trained network is measured by: gradients, cost. All of it in fp32, leaving the model as it was."""
