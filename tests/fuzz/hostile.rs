//! A hostile arena: valid circuits with data in them, bytes of it overwritten, and then every reader of it
//! called. None may crash, panic or go on for ever, whatever it reads.
//!
//! Used by the fuzz target and by `tests/hostile_arena.rs`. The input is read as a list of places and values
//! (`Input`), so that few bytes of it say much, and any bytes say something.

use core::mem::size_of;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use landline::pcb::circuit::{Circuit, End, Link, circuit};
use landline::pcb::reap::{self, Name};
use landline::pcb::tap::{Event, Kind};
use landline::pcb::{Address, Key, Pcb, State, block, table};
use landline::shm::layout::{self, Table};
use landline::shm::owner::{self, Me};
use landline::shm::{Arena, arena, blocks};
use landline::socket::handle::{Endpoint, Sock};
use landline::socket::{datagram, end, life, options, ready, recv, route, send, stats, wait};
use landline::sys::clock::Deadline;
use landline::sys::{Errno, call};
use landline::transport::direction::Direction;
use landline::transport::iov::Iov;
use landline::transport::{notifier, record, stream, tap};

/// A file that always has what is asked for.
struct Endless;

impl landline::socket::transfer::Source for Endless {
    fn read(&mut self, _: *mut u8, n: usize) -> landline::sys::errno::Ret {
        Ok(n)
    }

    fn has_more(&mut self) -> Result<bool, landline::sys::Errno> {
        Ok(true)
    }
}

const MSG: i32 = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
/// Pairs of streams: TCP, and one over AF_UNIX.
const PAIRS: usize = 4;
const TCP_PAIRS: usize = 3;

/// Bytes that are used up one after another; zeroes from there on.
pub struct Input<'a>(pub &'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    fn number(&mut self) -> u64 {
        (0..8).fold(0, |n, _| n << 8 | u64::from(self.byte()))
    }

    fn below(&mut self, n: u64) -> u64 {
        (u64::from(self.byte()) << 16 | u64::from(self.byte()) << 8 | u64::from(self.byte())) % n.max(1)
    }

    /// A number of the sort that breaks things, seen from what is there now.
    fn value(&mut self, now: u64) -> u64 {
        match self.byte() % 16 {
            0 => 0,
            1 => 1,
            2 => u64::MAX,
            3 => u64::MAX - self.below(64),
            4 => now.wrapping_add(1),
            5 => now.wrapping_sub(1),
            6 => now.wrapping_add(self.below(1 << 20)),
            7 => now.wrapping_sub(self.below(1 << 20)),
            8 => now ^ 1 << self.below(64),
            9 => 1 << self.below(64),
            10 => self.below(32),
            11 => u64::from(u32::MAX) + self.below(3),
            12 => layout::BLOCKS_OFF.wrapping_add(self.below(1 << 22) << 10),
            13 => !now,
            _ => self.number(),
        }
    }
}

/// Two sockets, each other's ends.
struct Pair {
    fds: [OwnedFd; 2],
    socks: [Sock; 2],
}

/// A net of one process.
pub struct World {
    arena: &'static Arena,
    listener: (TcpListener, Sock),
    pairs: Vec<Pair>,
    /// Two datagram sockets that are connected with each other.
    datagrams: Pair,
    notifier: u32,
    /// A capture, which is told all that they do.
    capture: tap::Reader<'static>,
    /// What lay where once all was set up.
    intact: Vec<(u64, Vec<u8>)>,
}

fn iov_of(bytes: &mut [u8]) -> [libc::iovec; 1] {
    [libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() }]
}

fn send_bytes(sock: Sock, n: usize, flags: i32) -> Result<usize, Errno> {
    let mut bytes = vec![7u8; n];
    let buffers = iov_of(&mut bytes);
    // SAFETY: the buffer outlives the cursor.
    let mut source = unsafe { Iov::new(&buffers) }?;
    send::send(sock, &mut source, flags | MSG, || Err(Errno::EAGAIN))
}

fn receive_bytes(sock: Sock, n: usize, flags: i32) -> Result<usize, Errno> {
    let mut bytes = vec![0; n];
    let buffers = iov_of(&mut bytes);
    // SAFETY: as above.
    let mut sink = unsafe { Iov::new(&buffers) }?;
    recv::receive(sock, &mut sink, flags | MSG, |_| Err(Errno::EAGAIN))
}

fn address(a: std::io::Result<std::net::SocketAddr>) -> Address {
    a.expect("the address of a socket").into()
}

/// An AF_UNIX stream, both ways on the ring.
fn unix_pair() -> Pair {
    let (a, b) = UnixStream::pair().expect("a pair");
    let fds: [OwnedFd; 2] = [a.into(), b.into()];
    let socks = life::pair([fds[0].as_raw_fd(), fds[1].as_raw_fd()], life::Kind::Stream, false).expect("room for PCBs");
    for sock in socks.iter().chain(&socks) {
        sock.endpoint().expect("a circuit").become_aware();
    }
    assert!(socks[0].endpoint().expect("a circuit").is_on_ring(), "not on the ring");
    socks.iter().for_each(|sock| _ = send_bytes(*sock, 20_000, 0));
    Pair { fds, socks }
}

/// Two datagram sockets with mailboxes, and datagrams in them.
fn datagram_pair() -> Pair {
    let sockets = [0, 1].map(|_| UdpSocket::bind("127.0.0.1:0").expect("a socket"));
    sockets[0].connect(sockets[1].local_addr().expect("its address")).expect("a peer");
    sockets[1].connect(sockets[0].local_addr().expect("its address")).expect("a peer");
    let socks = [&sockets[0], &sockets[1]].map(|s| life::create(s.as_raw_fd(), libc::AF_INET, life::Kind::Datagram, false).expect("room for a PCB"));
    for sock in socks {
        datagram::named(sock);
        datagram::mailbox(sock).expect("a mailbox");
    }
    for (sock, bytes) in [(socks[0], 10), (socks[1], 3_000), (socks[0], 60_000), (socks[1], 0)] {
        let mut data = vec![6u8; bytes];
        let buffers = iov_of(&mut data);
        // SAFETY: the buffer outlives the cursor.
        let source = unsafe { Iov::new(&buffers) }.expect("a buffer");
        assert_eq!(datagram::send(sock, &source, MSG, None, || Err(Errno::EAGAIN)), Ok(bytes), "not by the mailbox");
    }
    Pair { fds: sockets.map(Into::into), socks }
}

impl World {
    /// Joins the net of `LANDLINE_DIR`, which is to be this process's alone.
    pub fn new() -> World {
        let arena = arena().expect("an arena in LANDLINE_DIR");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a socket that listens");
        let to = listener.local_addr().expect("its address");
        let passive = life::create(listener.as_raw_fd(), libc::AF_INET, life::Kind::Stream, false).expect("room for a PCB");
        life::listening(passive, 128);
        let mut pairs: Vec<Pair> = (0..TCP_PAIRS)
            .map(|n| {
                let active = TcpStream::connect(to).expect("a connection");
                let (accepted, _) = listener.accept().expect("a connection");
                let a = life::create(active.as_raw_fd(), libc::AF_INET, life::Kind::Stream, false).expect("room for a PCB");
                life::connecting(a, Some(address(active.peer_addr())), Ok(0));
                let b = life::accepted(accepted.as_raw_fd(), Some(passive), libc::AF_INET, false).expect("room for a PCB");
                // Each use lets an end notice how far the other is.
                for sock in [a, b, a, b] {
                    sock.endpoint().expect("a circuit").become_aware();
                }
                assert!(b.endpoint().expect("a circuit").is_on_ring(), "not on the ring");
                // One queue of some bytes, one of a few segments, one of many.
                for (sock, bytes) in [(a, [100, 90_000, 1_500_000][n]), (b, [3_000, 0, 400_000][n])] {
                    let _ = send_bytes(sock, bytes, 0);
                }
                let _ = receive_bytes(a, 10 + 60 * n, 0);
                Pair { fds: [active.into(), accepted.into()], socks: [a, b] }
            })
            .collect();
        pairs.push(unix_pair());
        let datagrams = datagram_pair();
        let me = Me::get(arena).expect("room for this process");
        let notifier = notifier::allocate(&arena.lock(), me.slot()).expect("room for a notifier");
        // Some freed entries of each kind, in the chains.
        let lock = arena.lock();
        for n in 0..4 {
            let spare = notifier::allocate(&lock, me.slot()).expect("room for a notifier");
            notifier::free(&lock, spare);
            let pcbs = [0, 1].map(|k| table::allocate(&lock, 1 << 40 | n << 1 | k, me.slot()).expect("room for a PCB"));
            assert!(table::join(&lock, [pcbs[0].0, pcbs[1].0]));
            let names = pcbs.map(|(index, p)| Name::of(index, p));
            let spares: Vec<_> = (0..layout::CLASSES).map(|class| blocks::allocate(&lock, class, 9).expect("room for a block")).collect();
            spares.into_iter().for_each(|block| blocks::free(&lock, block));
            if n % 2 == 0 {
                let Some(link) = Link::of(pcbs[0].1.link.load(Ordering::Relaxed)) else { continue };
                pcbs.iter().for_each(|(index, _)| table::free(&lock, *index));
                table::free_circuit(&lock, link.circuit);
            }
            let _ = names;
        }
        drop(lock);
        let capture = tap::Reader::begin(arena, u32::MAX).expect("room for a capture");
        let mut world = World { arena, listener: (listener, passive), pairs, datagrams, notifier, capture, intact: Vec::new() };
        world.intact = world.parts().into_iter().map(|(off, n)| (off, world.read(off, n))).collect();
        world
    }

    /// The parts of the arena that are in use, as offset and length.
    fn parts(&self) -> Vec<(u64, u64)> {
        let header = self.arena.header();
        let used = |table: Table, high: u64| (table.off, table.entry_bytes * (high + 2).min(u64::from(table.entries)));
        let high = |pool: &layout::Pool| u64::from(pool.high.load(Ordering::Relaxed));
        let units = u64::from(header.units_high.load(Ordering::Relaxed));
        vec![
            (0, layout::FIXED_BYTES),
            used(layout::OWNERS, high(&header.owners)),
            used(layout::NOTIFIERS, high(&header.notifiers)),
            used(layout::PCBS, high(&header.pcbs)),
            used(layout::CIRCUITS, high(&header.circuits)),
            used(layout::DESCRIPTORS, units),
            used(layout::CAPTURES, 1),
            (layout::BLOCKS_OFF, units * 4096),
        ]
    }

    fn read(&self, off: u64, n: u64) -> Vec<u8> {
        let at = self.arena.bytes_at(off, n).expect("mapped");
        // SAFETY: mapped, and nobody else writes meanwhile.
        unsafe { core::slice::from_raw_parts(at, n as usize) }.to_vec()
    }

    fn write(&self, off: u64, bytes: &[u8]) {
        if let Some(at) = self.arena.bytes_at(off, bytes.len() as u64) {
            // SAFETY: mapped, and nobody else reads meanwhile.
            unsafe { at.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        }
    }

    /// Makes everything as it was.
    fn restore(&self) {
        for (off, bytes) in &self.intact {
            self.write(*off, bytes);
        }
        for pair in self.pairs.iter().chain([&self.datagrams]) {
            for fd in &pair.fds {
                while call::recv_scratch(fd.as_raw_fd(), libc::MSG_DONTWAIT).is_ok_and(|n| n > 0) {}
            }
        }
    }

    fn put32(word: &AtomicU32, input: &mut Input) {
        word.store(input.value(u64::from(word.load(Ordering::Relaxed))) as u32, Ordering::Relaxed);
    }

    fn put64(word: &AtomicU64, input: &mut Input) {
        word.store(input.value(word.load(Ordering::Relaxed)), Ordering::Relaxed);
    }

    /// Overwrites the 4 or 8 bytes at `off`, which is to be aligned for them.
    fn put_at(&self, off: u64, wide: bool, input: &mut Input) {
        if wide && let Some(word) = self.arena.at::<Word64>(off & !7) {
            Self::put64(&word.0, input);
        } else if let Some(word) = self.arena.at::<AtomicU32>(off & !3) {
            Self::put32(word, input);
        }
    }

    /// One overwriting.
    fn damage(&self, input: &mut Input) {
        let some = input.byte();
        let pair = self.pairs.get(input.below(PAIRS as u64 + 1) as usize).unwrap_or(&self.datagrams);
        let side = input.byte() as usize & 1;
        let sock = pair.socks[side];
        let link = Link::of(self.word(sock.pcb, core::mem::offset_of!(Pcb, link)));
        let the_circuit = link.and_then(|l| circuit(self.arena, l.circuit));
        let in_table = |input: &mut Input, table: Table, entries: u64| {
            table.off + table.entry_bytes * (1 + input.below(entries)) + input.below(table.entry_bytes)
        };
        let header = self.arena.header();
        match some % 22 {
            // A direction: heads, tails, segments, wait words, paths, marks.
            0..=5 => {
                if let Some(c) = the_circuit {
                    self.damage_direction(c.from_side(input.byte() as usize & 1), input);
                }
            }
            // Anything of a circuit in use: ends, roles, generations, both directions.
            6 | 7 => {
                if let Some(c) = the_circuit {
                    let off = self.offset(core::ptr::from_ref::<Circuit>(c).cast()) + input.below(layout::CIRCUITS.entry_bytes);
                    self.put_at(off, input.byte() & 1 == 0, input);
                }
            }
            // A PCB in use: state, generation, flags, link, addresses, chains.
            8 | 9 => {
                let off = self.offset(core::ptr::from_ref(sock.pcb).cast()) + input.below(layout::PCBS.entry_bytes);
                self.put_at(off, input.byte() & 1 == 0, input);
            }
            10 => {
                let links = [
                    Link { circuit: input.below(12) as u32, side, generation: input.below(4) as u32 }.word(),
                    Link { circuit: u32::MAX >> 1, side, generation: 1 }.word(),
                    input.value(link.map_or(0, Link::word)),
                ];
                sock.pcb.link.store(links[input.below(3) as usize], Ordering::Relaxed);
            }
            // A chain bent: into a ring, to nowhere, into another.
            11 => {
                let chains = [layout::COOKIES, layout::CONNECTIONS, layout::PORTS][input.below(3) as usize];
                if let Some(head) = (0..chains.entries)
                    .map(|i| chains.off + 4 * u64::from(i))
                    .filter_map(|off| self.arena.at::<AtomicU32>(off))
                    .filter(|w| w.load(Ordering::Relaxed) != 0)
                    .nth(input.below(4) as usize)
                {
                    head.store([input.below(16) as u32, input.value(0) as u32][input.below(2) as usize], Ordering::Relaxed);
                }
            }
            12 => {
                // The next fields of all PCBs to each other, at random.
                for index in 1..24 {
                    if let Some(p) = block::pcb(self.arena, index) {
                        let base = self.offset(core::ptr::from_ref(p).cast());
                        for word in 0..layout::PCBS.entry_bytes / 4 {
                            if let Some(cell) = self.arena.at::<AtomicU32>(base + 4 * word)
                                && (1..24).contains(&cell.load(Ordering::Relaxed))
                                && input.byte() & 3 == 0
                            {
                                cell.store(input.below(24) as u32, Ordering::Relaxed);
                            }
                        }
                    }
                }
            }
            // The header: pools, chains of blocks, counts; not the lock's owner, see `sane_lock`.
            13 | 14 => {
                let pools = [&header.owners, &header.notifiers, &header.pcbs, &header.circuits];
                let pool = pools[input.below(4) as usize];
                let words = [&pool.high, &pool.committed, &pool.free, &pool.live, &header.units_high, &header.units_live, &header.limbo];
                match input.below(9) as usize {
                    n @ 0..7 => Self::put32(words[n], input),
                    7 => Self::put32(&header.block_free[input.below(layout::CLASSES as u64) as usize], input),
                    _ => Self::put32(&header.block_free_count[input.below(layout::CLASSES as u64) as usize], input),
                }
            }
            // Descriptors of blocks.
            15 | 16 => {
                let off = in_table(input, layout::DESCRIPTORS, u64::from(header.units_high.load(Ordering::Relaxed).min(4096)));
                self.put_at(off, false, input);
            }
            // Owners and notifiers.
            17 => {
                let off = in_table(input, layout::OWNERS, 3);
                self.put_at(off, input.byte() & 1 == 0, input);
            }
            18 => {
                let off = in_table(input, layout::NOTIFIERS, 6);
                self.put_at(off, input.byte() & 1 == 0, input);
            }
            // A capture: its ring, and anything else of it.
            19 => self.damage_direction(self.capture.ring(), input),
            20 => {
                let off = in_table(input, layout::CAPTURES, 1);
                self.put_at(off, input.byte() & 1 == 0, input);
                let taps = &header.net.taps;
                Self::put32([&taps.running, &taps.held][input.below(2) as usize], input);
            }
            // Some bytes of any part.
            _ => {
                let (off, n) = {
                    let parts = &self.intact;
                    let (off, bytes) = &parts[input.below(parts.len() as u64) as usize];
                    (*off, bytes.len() as u64)
                };
                let bytes: Vec<u8> = (0..=input.below(64)).map(|_| input.byte()).collect();
                self.write(off + input.below(n), &bytes);
            }
        }
    }

    fn damage_direction(&self, d: &Direction, input: &mut Input) {
        let segment = &d.segments[input.below(16) as usize];
        let words = [
            &d.produced.head,
            &d.consumed.tail,
            &segment.block,
            &segment.start,
            &d.writer.tail_seen,
            &d.reader.head_seen,
            &d.writer.messages,
            &d.reader.messages,
            &d.writer.wake_at,
            &d.writer.fulls,
            &d.reader.sent_seen,
            &d.reader.calm_ns,
            &d.reader.kernel_left,
            &d.reader.urgent_seen,
            &d.control.kernel_bytes,
            &d.control.urgent,
        ];
        let counts = [&d.produced.segment, &d.consumed.segment, &d.produced.fin, &d.produced.place, &d.consumed.place];
        match input.below(25) as usize {
            n @ 0..16 => Self::put64(words[n], input),
            n @ 16..21 => Self::put32(counts[n - 16], input),
            21 => {
                // A segment where another is, where none is, or in the middle of one.
                let other = d.segments[input.below(16) as usize].block.load(Ordering::Relaxed);
                let place = layout::BLOCKS_OFF + input.below(1 << 14) * 4096;
                segment.block.store([other, place | 2, place | 1, place, other ^ 3, 0][input.below(6) as usize], Ordering::Relaxed);
            }
            22 => {
                let off = self.offset(core::ptr::from_ref(&d.control).cast()) + 8 * input.below(6);
                self.put_at(off, true, input);
            }
            23 => drop(d.control.readable.arm(input.below(12) as u32, input.value(0) as u32)),
            _ => drop(d.control.writable.arm(input.value(0) as u32, input.value(0) as u32)),
        }
    }

    fn offset(&self, at: *const u8) -> u64 {
        at as u64 - core::ptr::from_ref(self.arena.header()) as u64
    }

    fn word(&self, p: &Pcb, at: usize) -> u64 {
        self.arena.at::<Word64>(self.offset(core::ptr::from_ref(p).cast()) + at as u64).map_or(0, |w| w.0.load(Ordering::Relaxed))
    }

    /// A lock that names a live thread is held by it, for all that anybody can know: such words are left out.
    fn sane_locks(&self) {
        let word = |lock: *const u8| self.arena.at::<Word64>(self.offset(lock)).map(|w| &w.0);
        let circuits = (1..16).filter_map(|i| circuit(self.arena, i));
        let locks = circuits
            .flat_map(|c| [0, 1].map(|side| c.from_side(side)))
            .chain([self.capture.ring()])
            .flat_map(|d| [core::ptr::from_ref(&d.writer.lock).cast(), core::ptr::from_ref(&d.reader.lock).cast()]);
        for lock in locks.chain([core::ptr::from_ref(&self.arena.header().lock).cast()]).filter_map(word) {
            let tid = lock.load(Ordering::Relaxed) as u32;
            if tid != 0 && i32::try_from(tid).is_ok() && call::thread_exists(tid) {
                lock.store(0, Ordering::Relaxed);
            }
        }
    }

    /// Damages the arena as `data` says, calls everything that reads it, and makes it whole again.
    pub fn attack(&self, data: &[u8]) {
        self.restore();
        let mut input = Input(data);
        let damages = 1 + input.byte() % 8;
        for _ in 0..damages {
            self.damage(&mut input);
        }
        self.sane_locks();
        // In an order that the input says: what runs first repairs, or spoils, for those that follow.
        let turns = 4 + input.byte() % 12;
        for turn in 0..turns {
            self.read_some(if turn < 4 { input.byte() } else { (turn * 7) ^ input.byte() }, &mut input);
        }
    }

    /// Calls some of the readers.
    fn read_some(&self, which: u8, input: &mut Input) {
        let arena = self.arena;
        let pair = &self.pairs[input.below(PAIRS as u64) as usize];
        let sock = pair.socks[usize::from(which) & 1];
        match (which >> 1) % 18 {
            0..=2 => sock.endpoint().into_iter().for_each(|ep| self.use_ring(&ep, input)),
            3..=5 => self.use_socket(sock, input),
            6 => self.look_up(input),
            7 => self.change_table(input),
            8 => self.use_blocks(input),
            9 => self.use_notifier(input),
            10 => {
                let _ = reap::sweep(arena, input.byte() & 1 == 0);
            }
            16 => self.use_capture(input),
            11 => {
                if let Some(closing) = end::begin_close(sock) {
                    closing.finish();
                }
            }
            12 => {
                let link = Link::of(sock.pcb.link.load(Ordering::Relaxed));
                link.into_iter().for_each(|l| reap::release_side(arena, l, input.byte() as usize & 1));
                reap::release(arena, sock.name(), End::Reset);
                reap::unlink(arena, sock.name());
            }
            13 => {
                for (index, p) in table::all(arena).take(100) {
                    let _ = (
                        p.addresses().local.to_string(),
                        p.addresses().remote.to_string(),
                        p.state().name(),
                        reap::is_held(arena, p),
                        reap::how_it_ended(arena, p),
                        Name::of(index, p),
                    );
                }
                table::all_circuits(arena).for_each(|(_, c)| _ = (c.end(0), c.from_side(1).queued()));
                let _ = stats::now(Some(arena), table::all(arena).map(|(_, p)| p));
                stats::fold(arena, sock.pcb);
            }
            14 => {
                for slot in 0..owner::high(arena).min(64) {
                    let _ = (owner::is_dead(arena, slot), owner::pid_is_gone(arena, slot));
                }
                let _ = Me::get(arena);
            }
            15 => self.use_datagrams(input),
            _ => {
                pair.socks.iter().for_each(|s| _ = send_bytes(*s, 70_000, 0));
                pair.socks.iter().for_each(|s| _ = receive_bytes(*s, 70_000, 0));
            }
        }
    }

    /// What the calls of datagram sockets lead to.
    fn use_datagrams(&self, input: &mut Input) {
        for sock in self.datagrams.socks {
            let n = input.below(70_000) as usize;
            let mut bytes = vec![5u8; n];
            let buffers = iov_of(&mut bytes);
            // SAFETY: the buffer outlives the cursor.
            let Ok(iov) = (unsafe { Iov::new(&buffers) }) else { return };
            match input.byte() % 8 {
                0..=2 => _ = datagram::send(sock, &iov, MSG, None, || Err(Errno::EAGAIN)),
                3 | 4 => _ = datagram::receive(sock, &iov, MSG, |_| Err(Errno::EAGAIN)),
                5 => _ = datagram::receive(sock, &iov, MSG | libc::MSG_PEEK, |_| Err(Errno::EAGAIN)),
                6 => {
                    let _ = ready::on_ring(sock).map(|ep| ep.readiness());
                    let _ = (options::readable_bytes(sock), options::unsent_bytes(sock));
                    datagram::provoke_the_dead();
                }
                _ => {
                    let Some(ep) = sock.endpoint() else { continue };
                    let (arena, me) = (self.arena, sock.me());
                    let header = record::Header { bytes: n as u32, ..Default::default() };
                    let _ = record::push(ep.rx, arena, me, header, &iov, input.value(1 << 20), || true);
                    let _ = record::look(ep.rx, arena, me, true);
                    let _ = record::pop(ep.rx, arena, me, input.byte() & 1 == 0, &iov, input.byte() & 1 == 0, || true);
                }
            }
        }
    }

    /// The ring's own functions.
    fn use_ring(&self, ep: &Endpoint, input: &mut Input) {
        let (arena, me) = (self.arena, ep.sock.me());
        let most = 1 + input.below(300_000) as usize;
        let mut bytes = vec![1u8; most];
        let room = bytes.len();
        for d in [ep.tx, ep.rx] {
            let _ = (d.queued(), d.has_data(), d.is_finished(), d.path(), d.wake_point(), stream::room(d, arena), stream::class(d));
            match input.byte() % 6 {
                0 => {
                    let buffers = iov_of(&mut bytes);
                    // SAFETY: the buffer outlives the cursor.
                    let Ok(mut source) = (unsafe { Iov::new(&buffers) }) else { return };
                    let _ = stream::push(
                        d,
                        arena,
                        me,
                        input.byte() & 1 == 0,
                        &mut source,
                        u64::from(input.byte()) << 8,
                        || true,
                        |_, piece| piece.part(0, usize::MAX, |_| ()),
                        || {
                            let _ = d.control.readable.take();
                        },
                    );
                }
                1 | 2 => {
                    let buffers = iov_of(&mut bytes);
                    // SAFETY: as above.
                    let Ok(mut sink) = (unsafe { Iov::new(&buffers) }) else { return };
                    let peek = input.byte() & 1 == 0;
                    let _ = stream::pop(d, arena, me, input.byte() & 1 == 0, &mut sink, most, peek, || true);
                    let _ = d.take_writer_wishes();
                }
                3 => {
                    let read = |at: *mut u8, n: usize| {
                        // SAFETY: the ring offers `n` bytes at `at`.
                        unsafe { at.write_bytes(2, n) };
                        Ok::<usize, ()>(n)
                    };
                    let _ = stream::fill(d, arena, me, room, || true, read, |_, _| ());
                }
                4 => {
                    let write = |at: *const u8, n: usize| {
                        // SAFETY: as above.
                        unsafe { at.copy_to_nonoverlapping(bytes.as_mut_ptr(), n.min(room)) };
                        Ok::<usize, ()>(n)
                    };
                    let _ = stream::drain(d, arena, me, room, || true, write);
                }
                _ => {
                    let _ = stream::append(d, arena, me, input.below(5) as usize, ep.link.circuit, || true);
                }
            }
        }
    }

    /// What a program's calls lead to.
    fn use_socket(&self, sock: Sock, input: &mut Input) {
        let n = 1 + input.below(200_000) as usize;
        match input.byte() % 16 {
            0 | 1 => _ = send_bytes(sock, n, 0),
            2 => _ = send_bytes(sock, n, libc::MSG_OOB),
            3 | 4 => _ = receive_bytes(sock, n, 0),
            5 => _ = receive_bytes(sock, n, libc::MSG_PEEK),
            6 => _ = receive_bytes(sock, n, libc::MSG_WAITALL),
            7 => _ = receive_bytes(sock, 1, libc::MSG_OOB),
            8 => {
                let _ = ready::on_ring(sock).map(|ep| ep.readiness());
                let _ = (options::readable_bytes(sock), options::at_mark(sock), options::sends_by_ring(sock));
            }
            9 => {
                let _ = (matches!(route::tx(sock), route::TxRoute::Ring(_)), matches!(route::rx(sock), route::RxRoute::Ring(_)));
            }
            10 => {
                if let Some(ep) = sock.endpoint() {
                    let _ = (ep.kernel_left(input.value(0)), ep.is_past_kernel(), ep.limit_at_mark(n), ep.has_urgent(), ep.is_at_mark(), ep.at_end());
                    let _ = (ep.has_bytes(input.value(1)), ep.queue_bytes(), ep.is_writable(), wait::room(&ep), ep.peer(), ep.end_code());
                }
            }
            11 => {
                if let Some(ep) = sock.endpoint() {
                    let soon = Deadline::after_ns(200_000);
                    let _ = ep.wait_readable(1, soon, true);
                    let _ = ep.wait_writable(ep.wake_point(), soon);
                }
            }
            12 => {
                if let Some(ep) = sock.endpoint() {
                    ep.wake_peer();
                    ep.wake_writer();
                    ep.look_at_anchor();
                }
            }
            13 => {
                if let Some(ep) = sock.endpoint() {
                    let _ = ep.send_from(n, true, &mut Endless);
                    let _ = ep.receive_into(n, true, &mut |_, n| Ok(n));
                }
            }
            14 => {
                for (level, option) in [
                    (libc::SOL_SOCKET, libc::SO_SNDBUF),
                    (libc::SOL_SOCKET, libc::SO_RCVBUF),
                    (libc::SOL_SOCKET, libc::SO_ERROR),
                    (libc::IPPROTO_TCP, libc::TCP_NODELAY),
                ] {
                    let _ = options::get(sock, level, option);
                }
                let _ = life::adopt(sock.fd).map(|s| s.endpoint().map(|ep| ep.damaged()));
            }
            _ => {
                let _ = route::pin(sock);
                life::duplicated(sock);
            }
        }
    }

    fn look_up(&self, input: &mut Input) {
        let arena = self.arena;
        for pair in &self.pairs {
            for fd in &pair.fds {
                let name = |remote| options::name(fd.as_raw_fd(), remote).unwrap_or_default();
                let key = Key { local: name(false), remote: name(true) };
                let _ = (table::connected(arena, key).is_some(), table::connected(arena, key.reversed()).is_some());
                let _ = table::datagram(arena, (0, 0), key.local, key.remote).is_some();
                if let Ok(cookie) = call::cookie(fd.as_raw_fd()) {
                    let _ = table::by_cookie(arena, cookie).is_some();
                }
            }
        }
        let _ = table::listener(arena, address(self.listener.0.local_addr())).is_some();
        let _ = table::by_cookie(arena, input.value(1 << 40)).is_some();
        for fd in &self.pairs[TCP_PAIRS].fds {
            let _ = call::inode(fd.as_raw_fd()).is_ok_and(|inode| table::by_inode(arena, inode).is_some());
        }
        let _ = Sock::find(arena, input.value(1) as u32, input.value(1) as u32, 0).and_then(|s| s.endpoint());
    }

    fn change_table(&self, input: &mut Input) {
        let me = Me::get(self.arena).unwrap_or_else(Me::bootstrap);
        let pair = &self.pairs[input.below(PAIRS as u64) as usize];
        let name = |i: usize| options::name(pair.fds[i].as_raw_fd(), false).unwrap_or_default();
        let key = Key { local: name(0), remote: name(1) };
        let index = pair.socks[0].index;
        let lock = self.arena.lock();
        let indices: Vec<u32> = (0..4).filter_map(|n| Some(table::allocate(&lock, input.value(n), me.slot())?.0)).collect();
        match input.byte() % 9 {
            5 => table::bind_inode(&lock, index, input.value(77)),
            6 => table::bind_datagram(&lock, index, key),
            7 => _ = table::give_mailbox(&lock, index),
            0 => table::bind_connection(&lock, index, key, State::Established),
            1 => table::bind_listener(&lock, self.listener.1.index, address(self.listener.0.local_addr())),
            2 => table::unbind(&lock, input.value(u64::from(index)) as u32),
            3 => _ = table::join(&lock, [index, pair.socks[1].index]),
            4 => table::free_circuit(&lock, input.below(12) as u32),
            _ => indices.iter().for_each(|&i| table::bind_connection(&lock, i, key, State::SynSent)),
        }
        indices.into_iter().for_each(|i| table::free(&lock, i));
        table::free(&lock, input.value(u64::from(index)) as u32);
    }

    fn use_blocks(&self, input: &mut Input) {
        let lock = self.arena.lock();
        let taken: Vec<_> = (0..6).filter_map(|_| blocks::allocate(&lock, input.below(5) as usize, 1)).collect();
        for block in &taken {
            if let Some(at) = blocks::memory(self.arena, *block) {
                // SAFETY: a block just allocated has pages, unless the descriptors lie; the machine has room.
                unsafe { at.write_bytes(3, block.bytes() as usize) };
            }
        }
        taken.into_iter().for_each(|block| blocks::free(&lock, block));
        blocks::free(&lock, blocks::Block(input.value(layout::BLOCKS_OFF)));
        match input.byte() % 3 {
            0 => blocks::trim(&lock),
            1 => blocks::reclaim(&lock, |index| index & 1 == 0),
            _ => {}
        }
    }

    /// Tells it of what happens, and reads what it was told.
    fn use_capture(&self, input: &mut Input) {
        let event = Event::now(Kind::Datagram, 17, Address { port: 1, ..Address::default() }, Address::default());
        for _ in 0..8 {
            let mut bytes = vec![7; input.below(100_000) as usize];
            let buffers = iov_of(&mut bytes);
            // SAFETY: the buffer outlives the cursor.
            let Ok(iov) = (unsafe { Iov::new(&buffers) }) else { return };
            event.tell_with(self.arena, &iov);
        }
        let (mut lead, mut bytes) = ([0; 128], vec![0; tap::MOST_BYTES]);
        for _ in 0..input.below(1000) {
            match self.capture.next(&mut lead, &mut bytes) {
                Ok(Some((n, _))) => drop(lead.get(..n).and_then(Event::decode)),
                _ => break,
            }
        }
        let _ = self.capture.losses();
        if input.byte() & 7 == 0 {
            tap::bury(&self.arena.lock());
        }
    }

    fn use_notifier(&self, input: &mut Input) {
        let arena = self.arena;
        for number in [self.notifier, input.value(1) as u32] {
            if let Some(n) = notifier::notifier(arena, number) {
                let _ = (n.post(input.value(1) as u32), n.has_sleepers());
                n.begin_sleep();
                let _ = n.has_news();
                n.end_sleep();
                let mut taken = 0;
                n.take(|_| taken += 1);
            }
        }
        let lock = arena.lock();
        let taken: Vec<u32> = (0..4).filter_map(|_| notifier::allocate(&lock, 1)).collect();
        taken.into_iter().for_each(|n| notifier::free(&lock, n));
        notifier::free(&lock, input.value(1) as u32);
        notifier::sweep(&lock, |slot| slot & 1 == 0);
    }
}

/// 8 bytes of the arena.
#[repr(transparent)]
struct Word64(AtomicU64);

// SAFETY: one atomic, valid for every value.
unsafe impl landline::shm::Shared for Word64 {}
const _: () = assert!(size_of::<Word64>() == 8);
