//! Whether a program can be preloaded: what the dynamic loader will do with it, found out before it is
//! started, so that a refusal can say why.

use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::os::fd::IntoRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::sys::call;

/// Why a program is not started, and the exit status that goes with it.
#[derive(Debug)]
pub struct Refusal {
    pub status: u8,
    pub why: String,
}

impl Refusal {
    pub fn new(status: u8, why: String) -> Refusal {
        Refusal { status, why }
    }

    fn unfit(path: &Path, why: &str) -> Refusal {
        Refusal::new(126, format!("{} {why}", path.display()))
    }
}

/// The file that `name` stands for: itself if it has a slash, else the first of that name in PATH.
pub fn resolve(name: &OsStr) -> Result<PathBuf, Refusal> {
    let not_found = || Refusal::new(127, format!("{}: no such program", name.display()));
    if name.as_bytes().contains(&b'/') {
        return match fs::metadata(name) {
            Ok(_) => Ok(name.into()),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Err(not_found()),
            Err(e) => Err(Refusal::new(126, format!("{}: {e}", name.display()))),
        };
    }
    if name.is_empty() {
        return Err(not_found());
    }
    // Where PATH is not set, as execvp(3) has it.
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    let candidates =
        || std::env::split_paths(&path).map(|folder| if folder.as_os_str().is_empty() { Path::new(".").join(name) } else { folder.join(name) });
    let exists = |p: &PathBuf| p.is_file();
    candidates().filter(exists).find(|p| is_executable(p)).or_else(|| candidates().find(exists)).ok_or_else(not_found)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).map_or(0, |m| m.permissions().mode())
}

fn is_executable(path: &Path) -> bool {
    mode(path) & 0o111 != 0
}

/// How far scripts may be interpreted by scripts (execve(2)).
const INTERPRETERS: usize = 5;

/// Privileges that a program gets by its file, as the loader sees it.
fn privilege(path: &Path) -> Option<&'static str> {
    const SETUID: u32 = 0o4000;
    const SETGID_AND_EXECUTABLE: u32 = 0o2010;
    let mode = mode(path);
    let has_capabilities = || CString::new(path.as_os_str().as_bytes()).is_ok_and(|p| call::has_file_capabilities(&p));
    if mode & SETUID != 0 {
        Some("is setuid: the loader preloads nothing into programs that run as somebody else")
    } else if mode & SETGID_AND_EXECUTABLE == SETGID_AND_EXECUTABLE {
        Some("is setgid: the loader preloads nothing into programs that run as another group")
    } else if has_capabilities() {
        Some("has file capabilities: the loader preloads nothing into programs that get privileges")
    } else {
        None
    }
}

/// The program to start in a private net, where no privilege is needed: a copy in memory of one that its file would give
/// some, such as ping; any other as it is.
///
/// # Errors
/// Where it cannot be read, or copied.
pub fn without_privilege(path: PathBuf) -> Result<PathBuf, Refusal> {
    if privilege(&path).is_none() || Elf::of_file(&path).is_none() {
        return Ok(path);
    }
    let copy = || {
        let mut copy = File::from(call::file_in_memory(c"program")?);
        std::io::copy(&mut File::open(&path)?, &mut copy)?;
        // It is closed by exec, once the program is there.
        Ok(PathBuf::from(format!("/proc/self/fd/{}", copy.into_raw_fd())))
    };
    copy().map_err(|e: std::io::Error| Refusal::unfit(&path, &format!("gives privileges, and a copy without them cannot be made: {e}")))
}

/// Refuses what the loader would not preload. A script is judged by its interpreter.
pub fn judge(path: &Path) -> Result<(), Refusal> {
    let mut path = path.to_owned();
    for _ in 0..INTERPRETERS {
        match fs::metadata(&path) {
            Ok(m) if m.is_dir() => return Err(Refusal::unfit(&path, "is a folder")),
            Ok(_) if !is_executable(&path) => return Err(Refusal::unfit(&path, "is not executable")),
            Ok(_) => {}
            Err(e) => return Err(Refusal::new(126, format!("{}: {e}", path.display()))),
        }
        match Kind::of(&path) {
            Kind::Script(interpreter) => path = interpreter,
            Kind::Elf(elf) => return judge_elf(&path, &elf),
            // The C library hands it to the shell (execvp(3)); or it may be run and not read.
            Kind::Unknown => return Ok(()),
        }
    }
    Ok(())
}

fn judge_elf(path: &Path, elf: &Elf) -> Result<(), Refusal> {
    let why = if let Some(privilege) = privilege(path) {
        privilege
    } else if Elf::of_file(Path::new("/proc/self/exe")).is_some_and(|ours| ours.machine != elf.machine) {
        "is built for another machine than the library"
    } else {
        match &elf.interpreter {
            None => "is statically linked: there is no loader that could preload the library",
            Some(loader) if loader.file_name().is_some_and(|name| name.as_bytes().starts_with(b"ld-musl")) => {
                "is linked with musl: the library needs the GNU C library"
            }
            Some(_) => return Ok(()),
        }
    };
    Err(Refusal::unfit(path, why))
}

enum Kind {
    Script(PathBuf),
    Elf(Elf),
    Unknown,
}

impl Kind {
    fn of(path: &Path) -> Kind {
        if let Some(elf) = Elf::of_file(path) {
            return Kind::Elf(elf);
        }
        interpreter(path).map_or(Kind::Unknown, Kind::Script)
    }
}

/// The program that a script's first line names; behind `env`, the program that `env` will start.
fn interpreter(path: &Path) -> Option<PathBuf> {
    let mut start = Vec::new();
    File::open(path).ok()?.take(256).read_to_end(&mut start).ok()?;
    let line = start.strip_prefix(b"#!")?.split(|&b| b == b'\n').next()?;
    let mut words = line.split(|b| b" \t".contains(b)).filter(|w| !w.is_empty());
    let interpreter = PathBuf::from(OsStr::from_bytes(words.next()?));
    if interpreter.file_name() != Some("env".as_ref()) {
        return Some(interpreter);
    }
    let started = words.find(|w| !w.starts_with(b"-") && !w.contains(&b'='));
    started.and_then(|name| resolve(OsStr::from_bytes(name)).ok()).or(Some(interpreter))
}

/// What an ELF file (elf(5)) says of itself.
#[derive(Debug, PartialEq)]
struct Elf {
    /// Class, byte order and machine.
    machine: (u8, u8, u16),
    /// The dynamic loader; `None` where it is statically linked.
    interpreter: Option<PathBuf>,
}

impl Elf {
    fn of_file(path: &Path) -> Option<Elf> {
        Elf::of(&mut File::open(path).ok()?)
    }

    fn of(file: &mut (impl Read + Seek)) -> Option<Elf> {
        let header = Bytes::at(file, 0, 64)?;
        if header.0.get(..4)? != b"\x7fELF" {
            return None;
        }
        let &[class, order] = header.0.get(4..6)? else { return None };
        let is_64 = class == 2;
        let header = Header { bytes: header, is_big_endian: order == 2 };
        let machine = (class, order, header.u16(18)?);
        let table = if is_64 { header.u64(32)? } else { header.u32(28)? };
        let (entry_bytes, entries) = if is_64 { (header.u16(54)?, header.u16(56)?) } else { (header.u16(42)?, header.u16(44)?) };
        for i in 0..u64::from(entries) {
            const PT_INTERP: u64 = 3;
            let bytes = Bytes::at(file, table.checked_add(i * u64::from(entry_bytes))?, if is_64 { 56 } else { 32 })?;
            let entry = Header { bytes, ..header };
            if entry.u32(0)? == PT_INTERP {
                let (off, len) = if is_64 { (entry.u64(8)?, entry.u64(32)?) } else { (entry.u32(4)?, entry.u32(16)?) };
                let mut name = Bytes::at(file, off, len.min(4096))?.0;
                name.truncate(name.iter().position(|&b| b == 0).unwrap_or(name.len()));
                return Some(Elf { machine, interpreter: Some(OsString::from_vec(name).into()) });
            }
        }
        Some(Elf { machine, interpreter: None })
    }
}

struct Bytes(Vec<u8>);

impl Bytes {
    /// Up to `len` bytes of the file.
    fn at(file: &mut (impl Read + Seek), off: u64, len: u64) -> Option<Bytes> {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(off)).ok()?;
        file.take(len).read_to_end(&mut bytes).ok()?;
        Some(Bytes(bytes))
    }
}

/// A structure of the file, with numbers in its byte order.
struct Header {
    bytes: Bytes,
    is_big_endian: bool,
}

impl Header {
    fn number(&self, at: usize, len: usize) -> Option<u64> {
        let bytes = self.bytes.0.get(at..at + len)?;
        let append = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        Some(if self.is_big_endian { bytes.iter().fold(0, append) } else { bytes.iter().rev().fold(0, append) })
    }

    fn u16(&self, at: usize) -> Option<u16> {
        self.number(at, 2).map(|n| n as u16)
    }

    fn u32(&self, at: usize) -> Option<u64> {
        self.number(at, 4)
    }

    fn u64(&self, at: usize) -> Option<u64> {
        self.number(at, 8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_is_linked_dynamically() {
        let elf = Elf::of_file(Path::new("/proc/self/exe")).expect("an ELF file");
        assert!(elf.interpreter.is_some_and(|i| i.is_absolute()));
    }

    /// A 64-bit ELF file of this machine, with one program header of a type.
    fn elf(segment: u32) -> Vec<u8> {
        let mut file = vec![0; 64 + 56];
        File::open("/proc/self/exe").and_then(|mut f| f.read_exact(&mut file[..20])).expect("our own header");
        file[32..40].copy_from_slice(&64u64.to_ne_bytes());
        file[54..56].copy_from_slice(&56u16.to_ne_bytes());
        file[56..58].copy_from_slice(&1u16.to_ne_bytes());
        file[64..68].copy_from_slice(&segment.to_ne_bytes());
        file[72..80].copy_from_slice(&120u64.to_ne_bytes());
        file[96..104].copy_from_slice(&7u64.to_ne_bytes());
        file.extend(b"/ld.so\0");
        file
    }

    fn why(elf: &[u8], mode: u32) -> Option<String> {
        let path = std::env::temp_dir().join(format!("landline-target-{}-{mode:o}-{}", std::process::id(), elf.len()));
        fs::write(&path, elf).and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(mode))).expect("a temporary file");
        let judged = judge(&path);
        fs::remove_file(&path).expect("it was there");
        judged.err().map(|refusal| refusal.why)
    }

    #[test]
    fn programs_that_the_loader_does_not_preload_are_refused() {
        const PT_LOAD: u32 = 1;
        const PT_INTERP: u32 = 3;
        let refused = |elf: &[u8], mode, word| assert!(why(elf, mode).is_some_and(|why| why.contains(word)), "{word}");
        assert_eq!(why(&elf(PT_INTERP), 0o700), None);
        refused(&elf(PT_LOAD), 0o700, "statically linked");
        refused(&elf(PT_INTERP), 0o4700, "setuid");
        refused(&elf(PT_INTERP), 0o2710, "setgid");
        refused(&elf(PT_INTERP), 0o600, "not executable");
    }

    #[test]
    fn files_cut_short_are_no_programs() {
        let whole = elf(3);
        for len in [0, 3, 4, 17, 40, 57] {
            assert_eq!(Elf::of(&mut std::io::Cursor::new(&whole[..len])), None, "{len} bytes");
        }
    }

    #[test]
    fn a_name_is_looked_up_as_the_shell_does() {
        assert!(resolve("sh".as_ref()).is_ok_and(|p| p.is_absolute()));
        assert_eq!(resolve("no-such-program-here".as_ref()).map_err(|r| r.status), Err(127));
        assert_eq!(judge(Path::new("/")).map_err(|r| r.status), Err(126));
    }
}
