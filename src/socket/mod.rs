//! What a BSD socket does, on safe types: creation to close, sending and receiving, waiting, readiness,
//! options. Each rule stands once: one place decides the path (`route`), one waits (`wait`), one says what
//! is ready (`ready`), one knows how a connection ends (`end`). Imports from `net` and below.

#![deny(unsafe_code)]

pub mod crowd;
pub mod datagram;
pub mod end;
pub mod handle;
pub mod late;
pub mod life;
pub mod options;
pub mod packet;
pub mod private;
pub mod ready;
pub mod recv;
pub mod route;
pub mod send;
pub mod sleepers;
pub mod spin;
pub mod stats;
pub mod transfer;
pub mod unix;
pub mod urgent;
pub mod wait;

pub use handle::{Endpoint, Sock};
