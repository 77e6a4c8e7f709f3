//! The stylesheet, the script and the icon, in the binary. An address carries a hash of the
//! content, so a browser keeps the file for a year and still never shows an old one.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest as _, Sha256};

use crate::http::problem::Problem;

/// The time for which a browser keeps an asset: a year, the most that caches honour.
const KEEP: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// A file that pages use.
struct Asset {
    name: &'static str,
    kind: &'static str,
    content: &'static str,
}

static ASSETS: [Asset; 3] = [
    Asset {
        name: "tide.css",
        kind: "text/css; charset=utf-8",
        content: concat!(
            include_str!("../../../static/tide.css"),
            include_str!("../../../static/chart.css")
        ),
    },
    Asset {
        name: "tide.js",
        kind: "text/javascript; charset=utf-8",
        content: include_str!("../../../static/tide.js"),
    },
    Asset {
        name: "icon.svg",
        kind: "image/svg+xml",
        content: include_str!("../../../static/icon.svg"),
    },
];

/// The assets as they are sent, and their paths, in the same order.
static SENT: LazyLock<[String; 3]> = LazyLock::new(|| ASSETS.each_ref().map(Asset::compact));
static PATHS: LazyLock<[String; 3]> = LazyLock::new(|| ASSETS.each_ref().map(Asset::path));

impl Asset {
    /// Returns the content without indentation, blank lines, and lines that are comments.
    fn compact(&self) -> String {
        let lines = self.content.lines().map(str::trim).filter(|line| !line.is_empty());
        let is_comment = |line: &&str| {
            line.starts_with("//") || (line.starts_with("/*") && line.ends_with("*/"))
        };
        lines.filter(|line| !is_comment(line)).flat_map(|line| [line, "\n"]).collect()
    }

    /// Returns `/assets/tide.0123456789ab.css`.
    fn path(&self) -> String {
        let hash: String =
            Sha256::digest(self.content).iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        let (stem, extension) = self.name.split_once('.').unwrap_or((self.name, ""));
        format!("/assets/{stem}.{hash}.{extension}")
    }
}

/// Returns the paths of the stylesheet, the script and the icon.
pub(super) fn paths() -> &'static [String; 3] {
    &PATHS
}

/// Returns the stylesheet's address relative to the root of the server, so that it holds below any
/// base path.
pub(in crate::http) fn stylesheet() -> &'static str {
    PATHS[0].trim_start_matches('/')
}

/// Answers `GET /assets/{file}`.
pub(in crate::http) async fn serve(Path(file): Path<String>) -> Response {
    let found = PATHS.iter().position(|path| path.strip_prefix("/assets/") == Some(&file));
    let Some((asset, content)) = found.and_then(|at| ASSETS.get(at).zip(SENT.get(at))) else {
        let detail = "there is no such file: the page that named it is of another version, so load the page again";
        return Problem::new(StatusCode::NOT_FOUND, "no_such_path", detail).into_response();
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(asset.kind)),
        (header::CACHE_CONTROL, KEEP),
    ];
    (headers, content.as_str()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest size of the script, in bytes.
    const MOST_SCRIPT_BYTES: usize = 12_000;

    #[test]
    fn script_is_small_and_whole() {
        let [css, js, _] = &*SENT;
        assert!(js.len() < MOST_SCRIPT_BYTES, "{}", js.len());
        assert!(js.starts_with("const root") && css.starts_with(":root {"));
        for text in [css, js] {
            assert_eq!(text.matches('{').count(), text.matches('}').count());
            assert!(!text.contains("//") && !text.contains("http"), "nothing from another host");
        }
    }
}
