"""Access control: rules, policies, tokens and roles, and the one question that everybody asks: ``decide``."""
