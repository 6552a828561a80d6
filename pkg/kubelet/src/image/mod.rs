//! Images: their names, pulling them, and removing those that nobody uses.

pub(crate) mod name;
