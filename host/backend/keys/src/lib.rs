//! The operator's key, and the data keys of tenants that it wraps.
