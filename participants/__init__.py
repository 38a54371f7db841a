"""THE REGISTRY: institutions, participants, rooms and memberships, API keys."""
