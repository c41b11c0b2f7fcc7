use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// The same port in every test program, and no privilege.
#[test]
fn what_is_sent_comes_back() {
    std::thread::spawn(|| echo_service::serve().unwrap());
    let mut client = loop {
        match TcpStream::connect(("127.0.0.1", echo_service::PORT)) {
            Ok(client) => break client,
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    };
    client.write_all(b"first").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut back = String::new();
    client.read_to_string(&mut back).unwrap();
    assert_eq!(back, "first");
}
