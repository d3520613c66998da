"""What a process says about itself: logs and their masking, metrics, health, spans.

Nothing personal may leave through here. What is measured or checked of one service must not come in.
"""
