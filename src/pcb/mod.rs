//! Who talks to whom: protocol control blocks, the table that finds them, and the circuits that join two
//! of them. A connection request goes to the PCB that listens on its port; data goes to the PCB whose four
//! addresses match. Owns PCBs and circuits, their chains and their end, and
//! what a capture is told of them. Imports from `transport` and below.

#![deny(unsafe_code)]

pub mod block;
pub mod circuit;
pub mod extras;
pub mod key;
pub mod private;
pub mod reap;
pub mod table;
pub mod tap;

pub use block::{Pcb, State};
pub use circuit::Circuit;
pub use key::{Address, Key};

#[cfg(test)]
mod tests;
