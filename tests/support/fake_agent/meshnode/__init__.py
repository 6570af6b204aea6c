"""Stand-in for the agent in tests of the provisioning modules."""
