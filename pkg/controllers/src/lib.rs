//! The cluster's controllers: a pure plan and a small apply each.
