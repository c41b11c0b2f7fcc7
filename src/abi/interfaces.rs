//! The interfaces of a private net's host, as getifaddrs(3), if_nameindex(3) and netdevice(7) tell of them. What the
//! machine itself has is neither shown nor changed.

use core::ffi::{c_char, c_int, c_uint, c_void};
use core::net::{IpAddr, Ipv4Addr, SocketAddr};
use core::ptr::null_mut;
use libc::{ifaddrs, sockaddr_ll, sockaddr_storage};

use super::names::{net, put_text, text};
use crate::net::interfaces::{self, Interface};
use crate::sys::errno::{encode, preserved};
use crate::sys::real::real;
use crate::sys::{Errno, call, fault};

/// Bytes of an interface's name, with its NUL.
const NAME_BYTES: usize = libc::IF_NAMESIZE;

fn ours() -> Option<[Interface; 2]> {
    let arena = net()?;
    preserved(|| interfaces::ours(arena))
}

/// The counters of linux/if_link.h (`struct rtnl_link_stats`): packets, then bytes, each received and sent, and others.
type LinkStats = [u32; 24];

/// Everything that getifaddrs answers with, in one piece: freeifaddrs(3) of the C library frees just that.
#[repr(C)]
struct Block {
    entries: [ifaddrs; 6],
    /// Address, mask, and broadcast address or other end.
    addresses: [[sockaddr_storage; 3]; 6],
    names: [[c_char; NAME_BYTES]; 2],
    stats: [LinkStats; 2],
}

/// What one entry says.
enum Content {
    Link,
    V4,
    V6,
}

fn hardware_address(interface: &Interface, bytes: [u8; 6]) -> sockaddr_storage {
    // SAFETY: all-zero is valid; a sockaddr_ll is smaller, and no more strictly aligned.
    unsafe {
        let mut storage: sockaddr_storage = core::mem::zeroed();
        let link = &mut *(&raw mut storage).cast::<sockaddr_ll>();
        link.sll_family = libc::AF_PACKET as u16;
        link.sll_ifindex = interface.index as c_int;
        link.sll_hatype = interface.hardware;
        link.sll_halen = 6;
        link.sll_addr[..6].copy_from_slice(&bytes);
        storage
    }
}

fn storage(ip: impl Into<IpAddr>) -> sockaddr_storage {
    call::raw_address(SocketAddr::new(ip.into(), 0)).0
}

/// The three addresses of an entry; only an IPv6 one lacks the last.
fn addresses(interface: &Interface, content: &Content) -> [Option<sockaddr_storage>; 3] {
    match content {
        Content::Link => [Some(hardware_address(interface, interface.mac)), None, Some(hardware_address(interface, interface.hardware_broadcast))],
        Content::V4 => {
            // The loopback interface's other end is itself.
            let other = interface.v4_broadcast().unwrap_or(interface.v4);
            [Some(storage(interface.v4)), Some(storage(interface.v4_mask())), Some(storage(other))]
        }
        Content::V6 => [Some(storage(interface.v6)), Some(storage(interface.v6_mask())), None],
    }
}

/// The list; null where there is no memory.
unsafe fn list(interfaces: &[Interface; 2]) -> *mut ifaddrs {
    // SAFETY: all-zero bytes are a valid Block; everything is written within it.
    unsafe {
        let block = libc::calloc(1, size_of::<Block>()).cast::<Block>();
        if block.is_null() {
            return null_mut();
        }
        let block = &mut *block;
        for ((name, stats), interface) in block.names.iter_mut().zip(&mut block.stats).zip(interfaces) {
            put_text(interface.name, name.as_mut_ptr(), name.len());
            (stats[2], stats[3]) = (interface.got_bytes as u32, interface.sent_bytes as u32);
        }
        let contents = [Content::Link, Content::V4, Content::V6];
        let wanted = contents.iter().flat_map(|content| interfaces.iter().enumerate().map(move |(n, i)| (content, n, i)));
        let mut first: *mut ifaddrs = null_mut();
        let mut end = &raw mut first;
        for ((entry, place), (content, n, interface)) in block.entries.iter_mut().zip(&mut block.addresses).zip(wanted) {
            let mut put = |at: usize, address: Option<sockaddr_storage>| {
                address.map_or(null_mut(), |address| {
                    place[at] = address;
                    (&raw mut place[at]).cast()
                })
            };
            let [address, mask, other] = addresses(interface, content);
            entry.ifa_name = block.names[n].as_mut_ptr();
            entry.ifa_flags = interface.flags;
            entry.ifa_addr = put(0, address);
            entry.ifa_netmask = put(1, mask);
            entry.ifa_ifu = put(2, other);
            if matches!(content, Content::Link) {
                entry.ifa_data = (&raw mut block.stats[n]).cast::<c_void>();
            }
            end.write(entry);
            end = &raw mut (**end).ifa_next;
        }
        first
    }
}

export! {
    fn getifaddrs(out: *mut *mut ifaddrs) -> c_int {
        // SAFETY: as the caller says.
        unsafe {
            let Some(ours) = ours() else { return (real().getifaddrs)(out) };
            let list = list(&ours);
            out.write(list);
            if list.is_null() { -1 } else { 0 }
        }
    }

    fn if_nametoindex(name: *const c_char) -> c_uint {
        // SAFETY: as the caller says.
        unsafe {
            let Some(ours) = ours() else { return (real().if_nametoindex)(name) };
            let wanted = text(name);
            ours.iter().find(|i| wanted == Some(i.name)).map_or_else(
                || {
                    Errno(libc::ENODEV).set();
                    0
                },
                |i| i.index,
            )
        }
    }

    fn if_indextoname(index: c_uint, name: *mut c_char) -> *mut c_char {
        // SAFETY: as the caller says: IF_NAMESIZE bytes.
        unsafe {
            let Some(ours) = ours() else { return (real().if_indextoname)(index, name) };
            match ours.iter().find(|i| i.index == index) {
                Some(interface) => {
                    put_text(interface.name, name, NAME_BYTES);
                    name
                }
                None => {
                    Errno(libc::ENXIO).set();
                    null_mut()
                }
            }
        }
    }

    fn if_nameindex() -> *mut libc::if_nameindex {
        // SAFETY: calloc's memory has room for the entries and one of zeroes; the C library's if_freenameindex(3) frees
        // each name, then the entries.
        unsafe {
            let Some(ours) = ours() else { return (real().if_nameindex)() };
            let entries = libc::calloc(ours.len() + 1, size_of::<libc::if_nameindex>()).cast::<libc::if_nameindex>();
            if entries.is_null() {
                return entries;
            }
            for (n, interface) in ours.iter().enumerate() {
                let name = libc::calloc(1, NAME_BYTES).cast::<c_char>();
                if name.is_null() {
                    libc::if_freenameindex(entries);
                    return null_mut();
                }
                put_text(interface.name, name, NAME_BYTES);
                entries.add(n).write(libc::if_nameindex { if_index: interface.index, if_name: name });
            }
            entries
        }
    }
}

/// Requests of netdevice(7), by the numbers of linux/sockios.h.
mod ask {
    pub const ROUTES: core::ops::RangeInclusive<usize> = 0x890b..=0x890c;
    pub const NAME: usize = 0x8910;
    pub const CONF: usize = 0x8912;
    pub const FLAGS: usize = 0x8913;
    pub const ADDRESS: usize = 0x8915;
    pub const OTHER_END: usize = 0x8917;
    pub const BROADCAST: usize = 0x8919;
    pub const MASK: usize = 0x891b;
    pub const METRIC: usize = 0x891d;
    pub const MTU: usize = 0x8921;
    pub const HARDWARE: usize = 0x8927;
    pub const INDEX: usize = 0x8933;
    pub const QUEUE: usize = 0x8942;
    pub const ETHTOOL: usize = 0x8946;
    /// The last that is about an interface, ETHTOOL's two neighbours for MII included.
    pub const LAST: usize = 0x8948;
    pub const MAP: usize = 0x8970;
    pub const SET_MAP: usize = 0x8971;

    pub fn is_about_interfaces(request: usize) -> bool {
        matches!(request, NAME..=LAST | MAP | SET_MAP) || ROUTES.contains(&request)
    }
}

/// `struct ifreq`: a name, and a value whose kind the request tells.
const IFREQ_BYTES: usize = 40;
type Ifreq = [u8; IFREQ_BYTES];
const VALUE_AT: usize = NAME_BYTES;
/// `struct ifmap`.
const MAP_BYTES: usize = 24;
/// What Linux gives an interface.
const QUEUE_LEN: c_int = 1000;

fn put_value(request: &mut Ifreq, value: &[u8]) {
    request[VALUE_AT..].iter_mut().zip(value).for_each(|(to, from)| *to = *from);
}

/// `struct sockaddr_in` without a port.
fn v4_value(ip: Ipv4Addr) -> [u8; 16] {
    let mut value = [0; 16];
    value[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
    value[4..8].copy_from_slice(&ip.octets());
    value
}

/// Answers a request about one interface.
fn answer(interfaces: &[Interface; 2], number: usize, request: &mut Ifreq) -> Result<(), Errno> {
    let no_device = Errno(libc::ENODEV);
    if number == ask::NAME {
        let index = u32::from_ne_bytes([request[16], request[17], request[18], request[19]]);
        let interface = interfaces.iter().find(|i| i.index == index).ok_or(no_device)?;
        request[..NAME_BYTES].fill(0);
        request[..interface.name.len()].copy_from_slice(interface.name.as_bytes());
        return Ok(());
    }
    let len = request[..NAME_BYTES].iter().position(|&b| b == 0).unwrap_or(NAME_BYTES - 1);
    let interface = interfaces.iter().find(|i| i.name.as_bytes() == &request[..len]).ok_or(no_device)?;
    match number {
        ask::FLAGS => put_value(request, &(interface.flags as u16).to_ne_bytes()),
        ask::ADDRESS => put_value(request, &v4_value(interface.v4)),
        ask::OTHER_END => put_value(request, &v4_value(interface.v4)),
        ask::BROADCAST => put_value(request, &v4_value(interface.v4_broadcast().unwrap_or(Ipv4Addr::UNSPECIFIED))),
        ask::MASK => put_value(request, &v4_value(interface.v4_mask())),
        ask::METRIC => put_value(request, &0u32.to_ne_bytes()),
        ask::MTU => put_value(request, &interface.mtu.to_ne_bytes()),
        ask::HARDWARE => {
            put_value(request, &interface.hardware.to_ne_bytes());
            request[VALUE_AT + 2..VALUE_AT + 8].copy_from_slice(&interface.mac);
        }
        ask::INDEX => put_value(request, &interface.index.to_ne_bytes()),
        ask::QUEUE => put_value(request, &QUEUE_LEN.to_ne_bytes()),
        ask::MAP => put_value(request, &[0; MAP_BYTES]),
        ask::ETHTOOL..=ask::LAST => return Err(Errno::EOPNOTSUPP),
        _ => return Err(Errno::EPERM),
    }
    Ok(())
}

/// `SIOCGIFCONF`: the interfaces that have an IPv4 address, as far as there is room for them.
unsafe fn configuration(interfaces: &[Interface; 2], arg: usize) -> Result<usize, Errno> {
    let conf = arg as *mut libc::ifconf;
    if !fault::can_update(conf.cast(), size_of::<libc::ifconf>()) {
        return Err(Errno::EFAULT);
    }
    // SAFETY: the caller's struct, which is there (checked), and its buffer, of which as much is written as it says.
    unsafe {
        let to = (*conf).ifc_ifcu.ifcu_buf;
        let room = usize::try_from((*conf).ifc_len).map_err(|_| Errno::EINVAL)?;
        let n = if to.is_null() { interfaces.len() } else { interfaces.len().min(room / IFREQ_BYTES) };
        if !to.is_null() {
            if !fault::can_update(to.cast(), n * IFREQ_BYTES) {
                return Err(Errno::EFAULT);
            }
            for (at, interface) in interfaces.iter().take(n).enumerate() {
                let mut request = [0; IFREQ_BYTES];
                request[..interface.name.len()].copy_from_slice(interface.name.as_bytes());
                put_value(&mut request, &v4_value(interface.v4));
                to.cast::<Ifreq>().add(at).write(request);
            }
        }
        (*conf).ifc_len = (n * IFREQ_BYTES) as c_int;
    }
    Ok(0)
}

/// ioctl(2) on a socket about interfaces; `None` where that is the kernel's to answer.
pub(super) unsafe fn request(fd: c_int, number: usize, arg: usize) -> Option<isize> {
    if !ask::is_about_interfaces(number) {
        return None;
    }
    let ours = ours()?;
    let (mode, _) = preserved(|| call::mode_and_bytes(fd)).ok()?;
    if mode & libc::S_IFMT != libc::S_IFSOCK {
        return None;
    }
    if number == ask::CONF {
        // SAFETY: as the caller says.
        return Some(encode(unsafe { configuration(&ours, arg) }));
    }
    if ask::ROUTES.contains(&number) {
        return Some(encode(Err(Errno::EPERM)));
    }
    let place = arg as *mut Ifreq;
    if !fault::can_update(place.cast(), IFREQ_BYTES) {
        return Some(encode(Err(Errno::EFAULT)));
    }
    // SAFETY: there are as many bytes (checked), of any alignment.
    let mut request = unsafe { place.read_unaligned() };
    let ret = answer(&ours, number, &mut request);
    if ret.is_ok() {
        // SAFETY: as above.
        unsafe { place.write_unaligned(request) };
    }
    Some(encode(ret.map(|()| 0)))
}
