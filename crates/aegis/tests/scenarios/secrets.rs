//! No secret in anything that can be read, at any time.
