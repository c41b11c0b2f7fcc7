//! Descriptors: what a number means in this process, how that is inherited, and waiting on many of them.
//! Owns the descriptor table and the epoll instances; both belong to the process and are copied by fork.
//! Imports from `socket` and below.

#![deny(unsafe_code)]

pub mod epoll;
mod epoll_reg;
pub mod epoll_set;
pub mod poll;
pub mod select;
pub mod table;
