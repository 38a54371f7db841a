"""HOW THE NETWORK IS: what agents say of their Instances, alerts, the fleet page and its gauges."""
