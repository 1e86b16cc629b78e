"""What was declared when: the states that records name, and what changed since."""
