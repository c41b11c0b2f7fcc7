//! Every reader of the arena against an arena that the fuzzer scribbles over.
#![no_main]

#[path = "../hostile.rs"]
mod hostile;

use std::os::unix::fs::DirBuilderExt;
use std::sync::OnceLock;

/// A net of this process's own; its folder is gone as soon as it is mapped.
fn world() -> hostile::World {
    let dir = format!("/dev/shm/landline-fuzz-{}", std::process::id());
    std::fs::DirBuilder::new().mode(0o700).create(&dir).expect("a folder for the arena");
    // SAFETY: no other thread runs yet.
    unsafe { std::env::set_var("LANDLINE_DIR", &dir) };
    let world = hostile::World::new();
    std::fs::remove_dir_all(&dir).expect("the folder removed");
    world
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    static WORLD: OnceLock<hostile::World> = OnceLock::new();
    WORLD.get_or_init(world).attack(data);
});
