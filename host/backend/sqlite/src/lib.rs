//! SQLite files as every room of the node opens them: encrypted, checked, durable.
