//! The command `landline`.

fn main() -> std::process::ExitCode {
    landline::cli::main()
}
