//! The store on a simulated disk: random work against a model, with restarts, power cuts and faults.

mod compaction;
mod damage;
mod driver;
mod example;
mod faults;
mod model;
mod power;
mod reused;
