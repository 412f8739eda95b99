"""The only folder that knows psycopg."""
