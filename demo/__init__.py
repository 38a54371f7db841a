"""The demonstration network: chatbots, a classifier, and the story that they play. Imports no server code."""
