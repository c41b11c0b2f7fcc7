//! A sender whose ring is full says so, at once, whatever the sizes of its messages and buffers.
#![cfg(not(loom))]

use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::fs::DirBuilderExt;
use std::sync::atomic::Ordering;

use landline::socket::handle::Sock;
use landline::socket::{life, recv, send};
use landline::sys::Errno;
use landline::transport::iov::Iov;

const FLAGS: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;

fn transfer(bytes: &mut [u8], f: impl FnOnce(&mut Iov) -> Result<usize, Errno>) -> Result<usize, Errno> {
    let buffers = [libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() }];
    // SAFETY: the buffer outlives the cursor.
    f(&mut unsafe { Iov::new(&buffers) }?)
}

fn send_bytes(sock: Sock, bytes: &mut [u8]) -> Result<usize, Errno> {
    transfer(bytes, |source| send::send(sock, source, FLAGS, || Err(Errno::EAGAIN)))
}

fn receive_bytes(sock: Sock, bytes: &mut [u8]) -> Result<usize, Errno> {
    transfer(bytes, |sink| recv::receive(sock, sink, FLAGS, |_| Err(Errno::EAGAIN)))
}

/// Two sockets, each other's ends, on the ring.
fn pair(listener: &TcpListener) -> ([TcpStream; 2], [Sock; 2]) {
    let active = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (passive, peer) = listener.accept().unwrap();
    let remote = listener.local_addr().unwrap();
    assert_eq!(active.local_addr().unwrap(), peer);
    let a = life::create(active.as_raw_fd(), libc::AF_INET, life::Kind::Stream, true).unwrap();
    life::connecting(a, Some(remote.into()), Ok(0));
    let b = life::accepted(passive.as_raw_fd(), None, libc::AF_INET, true).unwrap();
    for sock in [a, b, a, b] {
        sock.endpoint().unwrap().become_aware();
    }
    assert!(a.endpoint().unwrap().is_on_ring());
    ([active, passive], [a, b])
}

#[test]
fn a_full_ring_is_said_to_be_full() {
    let dir = format!("/dev/shm/landline-full-{}", std::process::id());
    std::fs::DirBuilder::new().mode(0o700).create(&dir).unwrap();
    // SAFETY: the only test of this process, before it does anything else.
    unsafe { std::env::set_var("LANDLINE_DIR", &dir) };
    let arena = landline::shm::arena();
    std::fs::remove_dir_all(&dir).unwrap();
    arena.expect("an arena");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    for buffer in [0, 2_304, 8_192, 32_768, 65_536, 200_000] {
        for message in [100, 1_000, 1_999, 2_048, 2_049, 5_000, 50_000, 300_000] {
            let (_streams, [a, b]) = pair(&listener);
            a.pcb.sndbuf.store(buffer, Ordering::Relaxed);
            b.pcb.rcvbuf.store(buffer, Ordering::Relaxed);
            // A sender that turns round in circles is ended by SIGALRM.
            // SAFETY: alarm only sends a signal later.
            unsafe { libc::alarm(60) };
            let mut bytes = vec![1; message];
            let (mut sent, mut received) = (0u64, 0u64);
            for turn in 0..6 {
                while sent - received < 64 << 20 {
                    match send_bytes(a, &mut bytes) {
                        Ok(n) => sent += n as u64,
                        Err(e) => {
                            assert_eq!(e, Errno::EAGAIN);
                            break;
                        }
                    }
                }
                assert!(sent - received < 64 << 20, "never full with buffers of {buffer}");
                assert!(sent > received, "full while empty: messages of {message}, buffers of {buffer}");
                let mut room = vec![0; 1 + turn * 40_000];
                while turn % 2 == 1 || received == 0 {
                    match receive_bytes(b, &mut room) {
                        Ok(n) => received += n as u64,
                        Err(e) => {
                            assert_eq!(e, Errno::EAGAIN);
                            break;
                        }
                    }
                }
            }
            assert!(received <= sent);
        }
    }
}
