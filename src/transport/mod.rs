//! Bytes, not addresses: the stream ring that carries one direction of a circuit, the record ring
//! that many senders put their datagrams into, the taps by which captures are told, the wait words by which
//! a sender learns that somebody sleeps, the notifiers that tell an event loop which sockets have news,
//! and the cursor over a caller's buffers. Owns the layout of a direction. Imports from `shm` and `sys`.
//!
//! Fence rule: who publishes (head, tail, a bit) does so with a read-modify-write, then reads the other
//! side's wait word; who goes to sleep sets its wait word with a read-modify-write, then reads what would
//! be published. Both sides thus have a full fence between their store and their load, and one of them
//! sees the other. `loom_*` tests check it.

pub mod direction;
pub mod flight;
pub mod iov;
#[cfg(not(loom))]
pub mod late;
pub mod notifier;
pub mod record;
pub mod stream;
#[cfg(not(loom))]
pub mod tap;
pub mod wait;

#[cfg(test)]
mod tests;
