//! Objects of installations, in encrypted files.
