//! The pages in Chromium: runs the checks in `tests/browser`, which start their own servers.

use std::path::Path;
use std::process::Command;

use crate::support::binary;

#[test]
fn pages_work_in_a_browser() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let modules = root.join("target/browser");
    assert!(
        modules.join("node_modules/puppeteer-core").exists(),
        "the node modules are missing: `make test` installs them in target/browser"
    );
    let output = Command::new("node")
        .arg(root.join("tests/browser/run.mjs"))
        .env("TIDETABLE", binary())
        .env("MODULES", &modules)
        .env("PICTURES", modules.join("pictures"))
        .output()
        .expect("node is installed: run `make test`");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
}
