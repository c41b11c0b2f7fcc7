//! Where sockets meet. In the host net addresses are the kernel's own, and two sockets whose connection the kernel made
//! find each other in the PCB table. In a private net hosts, addresses and ports are the table's alone. Owns publishing and
//! joining, hosts, their names and interfaces, links, and captures. Imports from `pcb` and below.

#![deny(unsafe_code)]

pub mod capture;
pub mod dns;
pub mod host;
pub mod hosts;
pub mod interfaces;
pub mod links;
pub mod names;
pub mod packet;
pub mod xns;
