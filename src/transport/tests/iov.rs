//! The cursor over buffers.

use libc::iovec;

use crate::sys::Errno;
use crate::transport::iov::Iov;

#[test]
fn what_is_left_is_copied_together() {
    let (mut first, mut second) = (*b"abc", *b"defg");
    let one = |bytes: &mut [u8]| iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let buffers = [one(&mut first), one(&mut []), one(&mut second)];
    // SAFETY: the buffers live as long as the cursor.
    let mut iov = unsafe { Iov::new(&buffers) }.unwrap();
    let mut to = [0; 8];
    assert_eq!((iov.copy_to(&mut to), to), (Ok(7), *b"abcdefg\0"));
    iov.advance(2);
    assert_eq!((iov.copy_to(&mut to[..5]), &to[..5]), (Ok(5), &b"cdefg"[..]));
    assert_eq!(iov.copy_to(&mut to[..4]), Err(Errno(libc::EMSGSIZE)));
    iov.advance(5);
    assert_eq!(iov.copy_to(&mut []), Ok(0));
}

#[test]
fn a_buffer_of_our_own_is_one() {
    let mut bytes = *b"abc";
    let mut place = iovec { iov_base: core::ptr::null_mut(), iov_len: 0 };
    let iov = Iov::of(&mut bytes, &mut place);
    let mut to = [0; 3];
    assert_eq!((iov.left(), iov.copy_to(&mut to), to), (3, Ok(3), *b"abc"));
}
