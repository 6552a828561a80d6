//! The scheduler: pure filters and scores, and the bind loop.
