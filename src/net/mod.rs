//! The host net: addresses are the kernel's own, and two sockets whose connection the kernel made find
//! each other in the PCB table. Owns publishing and joining. Imports from `pcb` and below.

#![deny(unsafe_code)]

pub mod host;
