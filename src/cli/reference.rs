//! `tidetable man` and `tidetable completions`: pages and scripts that are made from the commands.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use clap_complete::env::Shells;

use super::display::{self, say};

/// The variable with which a shell asks for completions.
pub(super) const COMPLETE: &str = "TIDETABLE_COMPLETE";
const NAME: &str = "tidetable";

/// The arguments of `tidetable man`.
#[derive(Args, Debug)]
pub(super) struct ManArgs {
    /// Folder for the pages; created if it is missing
    dir: PathBuf,
}

/// Writes a page for each command to a folder.
///
/// # Errors
/// Fails if a page cannot be written.
pub(super) fn man(args: &ManArgs, tree: clap::Command) -> anyhow::Result<u8> {
    let dir: &Path = &args.dir;
    std::fs::create_dir_all(dir)
        .and_then(|()| clap_mangen::generate_to(tree, dir))
        .with_context(|| format!("the pages cannot be written to {}", dir.display()))?;
    say!("the pages are in {}", dir.display());
    Ok(0)
}

/// Prints the script that lets a shell ask for completions.
///
/// # Errors
/// Fails if the shell has no script.
pub(super) fn completions(shell: clap_complete::Shell) -> anyhow::Result<u8> {
    let shells = Shells::builtins();
    let completer = shells
        .completer(&shell.to_string())
        .with_context(|| format!("there are no completions for {shell}"))?;
    let mut script = Vec::new();
    completer.write_registration(COMPLETE, NAME, NAME, NAME, &mut script)?;
    display::write(script);
    Ok(0)
}
