"""What a process reports about itself: logs and their masking, metrics, health, spans.

No personal data may leave through here. Metrics and checks of one service must not come in.
"""
