//! SQL databases of installations, on SQLite.
