//! Landline: the BSD sockets API over shared memory.
//!
//! The crate is a stack of floors, each importing only from those below it:
//!
//! ```text
//! abi        extern "C": decode, call, encode
//! fd         descriptors: what a number means in this process; poll, select, epoll
//! socket     BSD semantics: send, receive, readiness, waiting, options, the end of a connection
//! net        the host net: publishing a socket and joining its peer
//! pcb        who talks to whom: protocol control blocks, keys, tables, circuits, reaping
//! transport  bytes, not addresses: the stream ring, the record ring, the words that wake a waiter
//! shm        the arena: region, layout, owners, robust lock, blocks
//! sys        the host beneath us: real functions, errno, clock, configuration, atomics
//! ```
//!
//! `docs/architecture.md` has the picture and the life of a connection.

#![cfg_attr(loom, allow(dead_code, unused_imports))]

pub mod sys;

pub mod shm;
pub mod transport;

#[cfg(not(loom))]
pub mod fd;
#[cfg(not(loom))]
pub mod net;
#[cfg(not(loom))]
pub mod pcb;
#[cfg(not(loom))]
pub mod socket;

#[cfg(all(feature = "interpose", not(loom)))]
pub mod abi;

#[cfg(all(feature = "cli", not(loom)))]
pub mod cli;
