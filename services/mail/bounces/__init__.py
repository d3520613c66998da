"""What comes back about mails that had left: delivery status notifications and complaints, read and taken in."""
