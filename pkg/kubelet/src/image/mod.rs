//! Images: their names, pulling them, and removing those that nobody uses.

pub(crate) mod gc;
pub(crate) mod name;
pub(crate) mod pull;
