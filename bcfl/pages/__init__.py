"""What pages of HTML share: templates that escape, the look, charts, and how values read."""
