"""How the tables came to be, one file a version, for Alembic. A file that was released is never changed."""
