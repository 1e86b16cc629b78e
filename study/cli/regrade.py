"""`study regrade`: what a design can see, and what it costs."""
def regrade() -> None:
    """stub"""
