"""Access control: rules, policies, tokens and roles, and the one question that everybody asks: ``decide``.

``authorizer``         the question and its answer; what everybody else imports
``rules``              the rule language, in both of its forms
``policy_authorizer``  the rules of several policies, merged and ready to be asked
``model``              tokens, policies and roles as values
``store``              their tables, part of the replicated state
``resolve``            from a secret to its rights

In: rules as text, commands with their index. Out: decisions with their reason, and the watch keys that a write touched.
Source: Consul 1.4, with the tokens of 1.2.3 mapped on it.
"""

__all__: list[str] = []
