"""How commands print: tables, fields, JSON, live displays."""
