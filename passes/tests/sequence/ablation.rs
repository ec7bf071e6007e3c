//! What each law is needed for.
