"""What was declared before the data: states of the claims, their worlds, preregistrations."""
