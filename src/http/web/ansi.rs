//! Turns lines of output with terminal colours into HTML.
//!
//! Text is escaped, and colours become classes: nothing of a log becomes markup. Bold, dim, italic,
//! underline and the 256 colours are kept. Other escapes are dropped. The text of an OSC 8 link
//! stays, its address is dropped.

use vte::{Params, Parser, Perform};

/// The most text of a line that is shown, in bytes.
const MAX_SHOWN: usize = 8 * 1024;

/// Turns the lines of one stream into HTML, in order. A colour lasts until the log changes it, also
/// over several lines.
///
/// # Examples
///
/// ```
/// let mut ansi = tidetable::http::web::ansi::Ansi::default();
/// assert_eq!(ansi.html(b"\x1b[1;31m<no>\x1b[m"), "<span class=\"f1 b\">&lt;no&gt;</span>");
/// assert_eq!(ansi.html(b" 10 %\r 99 %\rdone"), "done");
/// ```
#[derive(Debug, Default)]
pub struct Ansi {
    style: Style,
}

impl Ansi {
    /// Returns a line as HTML. The classes are `f0` to `f255` (colour), `g0` to `g255` (ground),
    /// `b` (bold), `d` (dim), `i` (italic) and `u` (underline). All tags are closed.
    ///
    /// A carriage return begins the line anew. The text beyond 8 kB is left out, and its size is
    /// stated. The size in memory is a small multiple of the line's.
    pub fn html(&mut self, line: &[u8]) -> String {
        let mut writer = Writer { style: self.style, ..Writer::default() };
        Parser::new().advance(&mut writer, line);
        self.style = writer.style;
        writer.finish()
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Style {
    colour: Option<u8>,
    ground: Option<u8>,
    bold: bool,
    dim: bool,
    italic: bool,
    underline: bool,
}

/// The line so far.
#[derive(Default)]
struct Writer {
    html: String,
    /// The style of the next character.
    style: Style,
    /// The style of the open tag; `None` if no tag is open.
    open: Option<Style>,
    /// The bytes of text in `html`, before they were escaped.
    shown: usize,
    /// The bytes of text that were left out.
    left_out: usize,
    /// A carriage return came, and no text after it.
    begins_anew: bool,
}

impl Writer {
    fn finish(mut self) -> String {
        self.close();
        if self.left_out > 0 {
            self.html.push_str(&format!("… {} bytes more", self.left_out));
        }
        self.html
    }

    fn close(&mut self) {
        if self.open.take().is_some() {
            self.html.push_str("</span>");
        }
    }

    fn put(&mut self, c: char) {
        if self.begins_anew {
            self.html.clear();
            (self.open, self.shown, self.left_out, self.begins_anew) = (None, 0, 0, false);
        }
        if self.left_out > 0 || self.shown + c.len_utf8() > MAX_SHOWN {
            self.left_out += c.len_utf8();
            return;
        }
        self.shown += c.len_utf8();
        if self.open.unwrap_or_default() != self.style {
            self.close();
            if self.style != Style::default() {
                self.html.push_str(&format!("<span class=\"{}\">", self.style.classes()));
                self.open = Some(self.style);
            }
        }
        match c {
            '<' => self.html.push_str("&lt;"),
            '>' => self.html.push_str("&gt;"),
            '&' => self.html.push_str("&amp;"),
            '"' => self.html.push_str("&quot;"),
            '\'' => self.html.push_str("&#39;"),
            _ => self.html.push(c),
        }
    }
}

impl Perform for Writer {
    fn print(&mut self, c: char) {
        // Delete, and the C1 controls that come as UTF-8, are not text.
        if !c.is_control() {
            self.put(c);
        }
    }

    fn execute(&mut self, byte: u8) {
        match byte {
            b'\t' => self.put('\t'),
            b'\r' => self.begins_anew = true,
            _ => {}
        }
    }

    fn csi_dispatch(&mut self, params: &Params, intermediates: &[u8], _: bool, action: char) {
        if action == 'm' && intermediates.is_empty() {
            self.style.apply(params);
        }
    }
}

impl Style {
    fn classes(self) -> String {
        let colour = self.colour.map(|n| format!("f{n}"));
        let ground = self.ground.map(|n| format!("g{n}"));
        let word = |is_set: bool, word: &str| is_set.then(|| word.to_owned());
        [
            colour,
            ground,
            word(self.bold, "b"),
            word(self.dim, "d"),
            word(self.italic, "i"),
            word(self.underline, "u"),
        ]
        .into_iter()
        .flatten()
        .collect::<Vec<_>>()
        .join(" ")
    }

    /// Applies "select graphic rendition" (ECMA-48, SGR). Unknown numbers change nothing.
    fn apply(&mut self, params: &Params) {
        let mut params = params.iter();
        while let Some(param) = params.next() {
            let Some((first, rest)) = param.split_first() else { continue };
            match *first {
                0 => *self = Self::default(),
                1 => self.bold = true,
                2 => self.dim = true,
                3 => self.italic = true,
                // `4:0` is no underline, `4:3` a curly one.
                4 => self.underline = rest.first() != Some(&0),
                21 => self.underline = true,
                22 => (self.bold, self.dim) = (false, false),
                23 => self.italic = false,
                24 => self.underline = false,
                n @ 30..=37 => self.colour = Some((n - 30) as u8),
                n @ 90..=97 => self.colour = Some((n - 82) as u8),
                n @ 40..=47 => self.ground = Some((n - 40) as u8),
                n @ 100..=107 => self.ground = Some((n - 92) as u8),
                39 => self.colour = None,
                49 => self.ground = None,
                which @ (38 | 48 | 58) => {
                    let colour = if rest.is_empty() {
                        let mut next = || params.next().and_then(|param| param.first().copied());
                        extended(&mut next)
                    } else {
                        with_colons(rest)
                    };
                    match which {
                        38 => self.colour = colour.or(self.colour),
                        48 => self.ground = colour.or(self.ground),
                        // The colour of an underline is not shown.
                        _ => {}
                    }
                }
                _ => {}
            }
        }
    }
}

/// Reads `5;N` or `2;R;G;B`.
fn extended(next: &mut dyn FnMut() -> Option<u16>) -> Option<u8> {
    match next()? {
        5 => u8::try_from(next()?).ok(),
        2 => {
            let (red, green, blue) = (next()?, next()?, next()?);
            Some(nearest([red, green, blue]))
        }
        _ => None,
    }
}

/// Reads `5:N`, `2:R:G:B` or `2:SPACE:R:G:B`.
fn with_colons(rest: &[u16]) -> Option<u8> {
    match rest {
        [5, n, ..] => u8::try_from(*n).ok(),
        [2, red, green, blue] | [2, _, red, green, blue, ..] => {
            Some(nearest([*red, *green, *blue]))
        }
        _ => None,
    }
}

/// Returns the nearest of the 256 colours: of the cube of 6 × 6 × 6 (from 16), or of the 24 greys
/// (from 232).
fn nearest(colour: [u16; 3]) -> u8 {
    const LEVELS: [i32; 6] = [0, 95, 135, 175, 215, 255];
    let colour = colour.map(|part| i32::from(part.min(255)));
    let level = |part: i32| (0..6).min_by_key(|n| (LEVELS[*n] - part).abs()).unwrap_or(0);
    let distance = |other: [i32; 3]| -> i32 {
        colour.iter().zip(other).map(|(part, other)| (part - other).pow(2)).sum()
    };
    let cube = colour.map(level);
    let grey = (0..24).min_by_key(|n| distance([8 + 10 * n; 3])).unwrap_or(0);
    let chosen = if distance([8 + 10 * grey; 3]) < distance(cube.map(|n| LEVELS[n])) {
        232 + grey
    } else {
        16 + cube.iter().fold(0, |all, n| all * 6 + i32::try_from(*n).unwrap_or(0))
    };
    u8::try_from(chosen).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn html(line: &str) -> String {
        Ansi::default().html(line.as_bytes())
    }

    #[test]
    fn colours_become_classes() {
        for (line, expected) in [
            ("plain", "plain"),
            ("\x1b[31mred\x1b[0m ok", "<span class=\"f1\">red</span> ok"),
            ("\x1b[1;4;92;41mx", "<span class=\"f10 g1 b u\">x</span>"),
            ("\x1b[38;5;208mx\x1b[39my", "<span class=\"f208\">x</span>y"),
            ("\x1b[38:5:208mx", "<span class=\"f208\">x</span>"),
            ("\x1b[48;2;255;0;0mx", "<span class=\"g196\">x</span>"),
            ("\x1b[38:2::127:128:129mx", "<span class=\"f244\">x</span>"),
            ("\x1b[2;3mx\x1b[22;23my", "<span class=\"d i\">x</span>y"),
            ("\x1b[38;5;999;4mx", "<span class=\"u\">x</span>"),
            ("\x1b[58;5;1;1mx", "<span class=\"b\">x</span>"),
            ("\x1b[1m\x1b[m", ""),
        ] {
            assert_eq!(html(line), expected, "{line:?}");
        }
    }

    #[test]
    fn other_escapes_are_dropped() {
        for (line, expected) in [
            ("a\x1b[2J\x1b[10;5H\x1b[Kb", "ab"),
            ("\x1b]8;;javascript:alert(1)\x1b\\link\x1b]8;;\x1b\\.", "link."),
            ("\x1b]0;title\x07text", "text"),
            ("\x1bP1;2q\x1b\\text", "text"),
            ("a\x08\x07\x00\x7fb\u{9b}1mc", "ab1mc"),
            ("unfinished\x1b[3", "unfinished"),
            ("unfinished\x1b]8;;x", "unfinished"),
        ] {
            assert_eq!(html(line), expected, "{line:?}");
        }
        assert_eq!(Ansi::default().html(b"a\xff\xf0\x9f\x98b"), "a\u{fffd}\u{fffd}b");
    }

    #[test]
    fn last_rewrite_of_a_line_wins() {
        assert_eq!(html("10 %\r50 %\r\x1b[32mdone\x1b[m"), "<span class=\"f2\">done</span>");
        assert_eq!(html("a line of Windows\r"), "a line of Windows");
        assert_eq!(html(&format!("{}\rshort", "x".repeat(10_000))), "short");
    }

    #[test]
    fn colour_lasts_over_lines() {
        let mut ansi = Ansi::default();
        assert_eq!(ansi.html(b"\x1b[31mone"), "<span class=\"f1\">one</span>");
        assert_eq!(ansi.html(b"two\x1b[m"), "<span class=\"f1\">two</span>");
        assert_eq!(ansi.html(b"three"), "three");
    }

    #[test]
    fn long_line_is_cut_with_its_size() {
        assert_eq!(html(&"x".repeat(MAX_SHOWN)), "x".repeat(MAX_SHOWN));
        let cut = html(&format!("\x1b[1m{}", "é".repeat(MAX_SHOWN)));
        let shown = "é".repeat(MAX_SHOWN / 2);
        assert_eq!(cut, format!("<span class=\"b\">{shown}</span>… {MAX_SHOWN} bytes more"));
    }

    /// Removes our tags in order, and returns the rest. Fails for tags that are not balanced.
    fn without_tags(html: &str) -> String {
        let (mut rest, mut text, mut is_open) = (html, String::new(), false);
        while let Some((before, tag)) = rest.split_once('<') {
            text.push_str(before);
            let (tag, after) = tag.split_once('>').expect("an end of the tag");
            let class = tag.strip_prefix("span class=\"").and_then(|it| it.strip_suffix('"'));
            let is_class = |word: &str| {
                let (kind, number) = word.split_at(1);
                match kind {
                    "f" | "g" => number.parse::<u8>().is_ok(),
                    "b" | "d" | "i" | "u" => number.is_empty(),
                    _ => false,
                }
            };
            assert!(match class {
                Some(class) => !is_open && class.split(' ').all(is_class),
                None => is_open && tag == "/span",
            });
            (is_open, rest) = (class.is_some(), after);
        }
        assert!(!is_open);
        text + rest
    }

    proptest! {
        #[test]
        fn any_bytes_give_only_our_tags(
            lines in prop::collection::vec(
                prop_oneof![
                    prop::collection::vec(any::<u8>(), 0..200),
                    "(\x1b\\[[0-9;:]{0,12}m|\x1b\\]8;;[a-z]*\x1b\\\\|<[a-z/]*>|[\"'&\r\t é])*"
                        .prop_map(String::into_bytes),
                ],
                0..5,
            ),
        ) {
            let mut ansi = Ansi::default();
            for line in lines {
                let text = without_tags(&ansi.html(&line));
                prop_assert!(!text.contains(['<', '>', '"', '\'']));
                prop_assert!(text.chars().all(|c| c == '\t' || !c.is_control()));
            }
        }

        #[test]
        fn plain_text_is_kept(line in "[a-zA-Z0-9 äöü.;:\\[\\]]{0,100}") {
            prop_assert_eq!(html(&line), line);
        }
    }
}
