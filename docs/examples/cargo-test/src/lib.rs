//! A service whose port is fixed, as in production.

use std::io::{Read, Write};
use std::net::TcpListener;

pub const PORT: u16 = 7;

/// Echoes what each client in turn sends until its end.
pub fn serve() -> std::io::Result<()> {
    for client in TcpListener::bind(("0.0.0.0", PORT))?.incoming() {
        let (mut client, mut all) = (client?, Vec::new());
        client.read_to_end(&mut all)?;
        client.write_all(&all)?;
    }
    Ok(())
}
