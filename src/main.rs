//! The binary. It turns the library's result into an exit code; everything else is in the library.

use std::process::ExitCode;

use tidetable::cli::Cli;

fn main() -> ExitCode {
    // The engine's connection and the client's share one TLS provider, so it is installed before
    // either exists.
    let _already_installed = rustls::crypto::ring::default_provider().install_default();
    ExitCode::from(Cli::read().run())
}
