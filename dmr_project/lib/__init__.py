"""What every app may use. No models, and no knowledge of any app."""
