"""Events that mail providers post: verifies who sent them and applies what they say about mails.

One module for each provider says how its calls are verified and what its words mean. Nothing here talks SMTP.
"""
