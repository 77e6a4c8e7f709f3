//! Lines of a stream of bytes, which arrive in chunks that end anywhere.

/// The bytes after the last complete line.
#[derive(Default)]
pub(super) struct Lines(Vec<u8>);

impl Lines {
    /// Adds bytes, and returns the lines that are complete and not empty.
    pub(super) fn add(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        self.0.extend_from_slice(bytes);
        let mut complete = Vec::new();
        while let Some(end) = self.0.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.0.drain(..=end).take(end).collect();
            complete.extend((!line.trim_ascii().is_empty()).then_some(line));
        }
        complete
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_put_together_from_chunks() {
        let mut lines = Lines::default();
        assert!(lines.add(b"{\"a\"").is_empty());
        assert_eq!(lines.add(b":1}\n\n{}\n{"), [b"{\"a\":1}".to_vec(), b"{}".to_vec()]);
        assert_eq!(lines.add(b"}\n"), [b"{}".to_vec()]);
    }
}
