//! Writes `include/landline.h` from the exports with the prefix `landline_`, and the names of Xerox NS.

fn main() {
    println!("cargo:rerun-if-changed=src/abi/prefixed.rs");
    println!("cargo:rerun-if-changed=src/abi/xns.rs");
    println!("cargo:rerun-if-changed=src/abi/prefixed_names.rs");
    println!("cargo:rerun-if-changed=cbindgen.toml");
    let root = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    let config = cbindgen::Config::from_file(format!("{root}/cbindgen.toml")).expect("cbindgen.toml is valid");
    let files = ["xns", "prefixed", "prefixed_names"].map(|name| format!("{root}/src/abi/{name}.rs"));
    let header = files.iter().fold(cbindgen::Builder::new().with_config(config), |header, file| header.with_src(file)).generate();
    match header {
        // Written only where it changed, so that a read-only source tree builds as well.
        Ok(bindings) => {
            bindings.write_to_file(format!("{root}/include/landline.h"));
        }
        Err(e) => println!("cargo:warning=include/landline.h was not generated: {e}"),
    }
}
