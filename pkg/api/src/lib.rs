//! Kubernetes kinds, schemas, defaults, validation, patches and selectors: pure functions, no I/O.

pub mod discovery;
pub mod field;
pub mod forms;
pub mod kind;
pub mod kinds;
pub mod metadata;
pub mod object;
pub mod openapi;
pub mod patch;
pub mod protobuf;
pub mod quantity;
pub mod schema;
pub mod selector;
pub mod status;
pub mod strategy;
pub mod table;
pub mod time;
pub mod tree;
pub mod user;

pub use object::Object;
pub use status::Status;
