//! A terminal for commands under test: a pseudo-terminal of 80 columns.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Command, ExitStatus, Stdio};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// Runs a command whose stdin, stdout and stderr are a terminal. Returns everything that it showed,
/// with plain line ends.
pub fn run(command: &mut Command) -> (String, ExitStatus) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&master).and_then(|()| unlockpt(&master)).expect("the other end");
    let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&master, size).expect("a size");
    let name = ptsname(&master, Vec::new()).expect("a name");
    let other = File::options()
        .read(true)
        .write(true)
        .open(OsStr::from_bytes(name.to_bytes()))
        .expect("the other end");
    let end = || Stdio::from(other.try_clone().expect("a copy"));
    for variable in ["NO_COLOR", "CLICOLOR_FORCE", "COLUMNS"] {
        command.env_remove(variable);
    }
    command.env("TERM", "xterm-256color").stdin(end()).stdout(end()).stderr(end());
    let mut child = command.spawn().expect("it runs");
    // Only the child may hold the other end, so that reading ends with it.
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    drop(other);
    let mut shown = Vec::new();
    // Reading fails when the last holder of the other end is gone.
    let _ended = File::from(master).read_to_end(&mut shown);
    let status = child.wait().expect("it ends");
    (String::from_utf8_lossy(&shown).replace("\r\n", "\n"), status)
}
