//! The binary: everything is in the library; this only turns its result into an exit code.

use std::process::ExitCode;

use tidetable::cli::Cli;

fn main() -> ExitCode {
    // One TLS provider for the engine's connection and the client's, chosen before either is made.
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
    match Cli::read().run() {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("tidetable: {error:#}");
            ExitCode::FAILURE
        }
    }
}
