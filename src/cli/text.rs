//! Makes hostile text harmless before a terminal sees it: names, errors and output come from other
//! people. Controls in a sentence or a cell are escaped. Output keeps its colours on a terminal and
//! loses every other control sequence.

use std::borrow::Cow;

use anstyle_parse::{Params, Parser, Perform, Utf8Parser};

/// Returns whether a character moves the cursor, hides text or reverses its direction: C0 and C1
/// controls, line separators, and the controls of bidirectional text.
fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        )
}

/// Escapes hostile characters, a line end included: ESC becomes `\u{1b}`.
pub(super) fn clean(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hostile) {
        return Cow::Borrowed(text);
    }
    let mut cleaned = String::with_capacity(text.len());
    for c in text.chars() {
        match is_hostile(c) {
            true => cleaned.extend(c.escape_default()),
            false => cleaned.push(c),
        }
    }
    Cow::Owned(cleaned)
}

/// Escapes hostile characters in each line, and keeps the line ends.
pub(super) fn clean_lines(text: &str) -> String {
    text.split('\n').map(clean).collect::<Vec<_>>().join("\n")
}

/// Escapes hostile characters in JSON, where they stand only in texts. The JSON means the same.
pub(super) fn clean_json(json: &str) -> String {
    let mut cleaned = String::with_capacity(json.len());
    for c in json.chars() {
        match is_hostile(c) && c != '\n' {
            true => cleaned.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => cleaned.push(c),
        }
    }
    cleaned
}

/// A filter for output on a terminal. Lines, tabs, carriage returns and colours pass; other
/// controls do not.
pub(super) struct TerminalFilter {
    parser: Parser<Utf8Parser>,
    passed: Passed,
}

/// The bytes that passed, and the settings of the filter.
struct Passed {
    bytes: Vec<u8>,
    keeps_colours: bool,
    /// True if a colour was set and not reset at the end of a chunk.
    is_coloured: bool,
}

impl TerminalFilter {
    pub(super) fn new(keeps_colours: bool) -> Self {
        let passed = Passed { bytes: Vec::new(), keeps_colours, is_coloured: false };
        Self { parser: Parser::<Utf8Parser>::new(), passed }
    }

    /// Returns the harmless part of the next bytes. A sequence may continue in the next call.
    pub(super) fn pass(&mut self, bytes: &[u8]) -> Vec<u8> {
        for byte in bytes {
            self.parser.advance(&mut self.passed, *byte);
        }
        std::mem::take(&mut self.passed.bytes)
    }

    /// Returns the end of the output, which resets the colours that are still set.
    pub(super) fn end(self) -> &'static [u8] {
        if self.passed.is_coloured { b"\x1b[0m" } else { b"" }
    }
}

impl Perform for Passed {
    fn print(&mut self, c: char) {
        if !is_hostile(c) {
            self.bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }

    fn execute(&mut self, byte: u8) {
        if matches!(byte, b'\n' | b'\r' | b'\t') {
            self.bytes.push(byte);
        }
    }

    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], ignore: bool, action: u8) {
        if action != b'm' || ignore || !intermediates.is_empty() || !self.keeps_colours {
            return;
        }
        let numbers: Vec<String> = params
            .iter()
            .map(|parts| parts.iter().map(u16::to_string).collect::<Vec<_>>().join(":"))
            .collect();
        self.bytes.extend_from_slice(format!("\x1b[{}m", numbers.join(";")).as_bytes());
        self.is_coloured = !numbers.iter().all(|number| number == "0");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(text: &[u8], keeps_colours: bool) -> String {
        let mut filter = TerminalFilter::new(keeps_colours);
        let mut bytes: Vec<u8> = text.iter().flat_map(|byte| filter.pass(&[*byte])).collect();
        bytes.extend_from_slice(filter.end());
        String::from_utf8(bytes).expect("is UTF-8")
    }

    #[test]
    fn hostile_characters_are_escaped() {
        assert_eq!(clean("grün → ok"), "grün → ok");
        assert_eq!(clean("a\x1b]0;x\x07b\n"), "a\\u{1b}]0;x\\u{7}b\\n");
        assert_eq!(clean("\u{9b}2J\u{202e}x\u{2028}"), "\\u{9b}2J\\u{202e}x\\u{2028}");
        assert_eq!(clean_lines("a\x1b\nb"), "a\\u{1b}\nb");
    }

    #[test]
    fn escaped_json_means_the_same() {
        let value = serde_json::json!({"a\u{202e}": "\u{9b}2J\u{7f}", "b": "ü\n"});
        let text = serde_json::to_string_pretty(&value).expect("is JSON");
        let cleaned = clean_json(&text);
        assert!(!cleaned.contains(|c| is_hostile(c) && c != '\n'), "{cleaned}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&cleaned).expect("is JSON"), value);
    }

    #[test]
    fn terminal_output_keeps_only_colours() {
        let hostile =
            b"\x1b]0;title\x07\x1b[2J\x1b[1;31mred\x1b[0m\x1bc\x1bP+q\x1b\\ a\tb\r\n\x1b[>4;2mx";
        assert_eq!(passed(hostile, true), "\x1b[1;31mred\x1b[0m a\tb\r\nx");
        assert_eq!(passed(hostile, false), "red a\tb\r\nx");
        assert_eq!(passed("\u{9b}2Jé\u{202e}".as_bytes(), true), "2Jé");
    }

    #[test]
    fn colours_end_with_the_output() {
        assert_eq!(passed(b"\x1b[38;5;9mred", true), "\x1b[38;5;9mred\x1b[0m");
    }
}
